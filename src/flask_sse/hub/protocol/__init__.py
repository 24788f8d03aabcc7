"""The control protocol between applications and the hub: packets, requests, blocks. No I/O."""
