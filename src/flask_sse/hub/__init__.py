"""The hub: one process a machine that holds every open stream and writes to its socket."""
