"""Stand-ins for systems that cannot run in a test: for the demo, our tests and users' own tests."""
