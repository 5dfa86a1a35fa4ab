"""Files and addresses: whole files or none, remote folders, manifests with checksums."""
