"""What `moln backup` and `moln restore` share: the archive, and the process that reads and writes databases."""
