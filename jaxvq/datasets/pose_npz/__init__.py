"""The corpus `sign_poses`: the user's own `.pose` files."""
