"""What a durable agent step costs: `make bench`. Read RESULTS.md for figures, rounds.py for what is measured and how.

`programs.py` brings Temporal's production server and finds Debian's Postgres; `server.py` runs both; `service.py` runs
Diwan's own processes on them, `bare.py` activities of nothing on the same queues, `rival/` pydantic-ai's durable agent.
"""
