"""What `import_sign_vq` reads: sign-vq's checkpoints."""
