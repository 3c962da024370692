"""What things are: frozen Structs and pure rules."""
