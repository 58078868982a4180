"""What the package needs of the machine and of the libraries under it; imports nothing of nowcast
but its errors."""
