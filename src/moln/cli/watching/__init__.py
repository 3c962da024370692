"""What `moln top` shows: the controller's numbers (samples), what they mean between two looks (figures), and how they are drawn (screen)."""
