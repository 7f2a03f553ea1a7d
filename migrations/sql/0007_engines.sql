-- The pool worker asks the ministry's policy before a dossier goes to an engine outside the perimeter.
GRANT SELECT (tenant, settings) ON tenant TO diwan_pool;
