"""What is looked at before long work begins: images, room on disk, memory, expected time."""
