"""OCI images: registry and layout directory behind one interface; tags, ledger, rollback."""
