"""The corpus `how2sign_openpose`."""
