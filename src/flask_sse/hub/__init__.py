"""The hub: one process per machine that holds every open stream and writes to its socket."""
