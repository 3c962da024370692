"""`moln up --demo`: a first server, made through the public APIs as any client would, and what it says over ssh."""
