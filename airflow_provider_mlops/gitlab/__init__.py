"""GitLab CI: pipelines, commits and merge requests."""
