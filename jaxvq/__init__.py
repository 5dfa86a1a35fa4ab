"""Human and sign language poses to tokens and back; see README.md for the way through."""
