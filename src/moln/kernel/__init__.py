"""What every area stands on; it knows no area."""
