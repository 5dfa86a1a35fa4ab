"""What measures a prior over tokens."""
