"""The same agent on pydantic-ai's durable execution, in an environment of its own (.venv-bench)."""
