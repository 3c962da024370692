"""What `moln up` needs from the machine: packages, users, engines, and the supervisor that keeps them running."""
