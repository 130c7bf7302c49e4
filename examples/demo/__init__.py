"""The demo: a whole consortium on one machine, from enrolment to evidence, in eight chapters."""
