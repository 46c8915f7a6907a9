"""The page of a run in the browser: what it shows, and the server that answers it."""
