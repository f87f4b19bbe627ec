"""Many runs by one command: cells, what is known of them, and how they are started."""
