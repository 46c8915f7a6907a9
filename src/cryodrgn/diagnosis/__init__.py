"""Whether data and results are what they are taken for: conventions, junk images, nuisances."""
