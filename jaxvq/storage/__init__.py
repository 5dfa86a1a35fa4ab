"""Files and addresses: writing whole files or none, remote folders, manifests with checksums."""
