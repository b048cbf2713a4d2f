"""External jobs: submit, persist, wait, finish; one engine for every remote system."""
