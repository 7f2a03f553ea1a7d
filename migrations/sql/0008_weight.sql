-- A ministry's share of the engines, out of its settings: whoever rings for a case sees it, and nothing else of a ministry.
ALTER TABLE tenant ADD COLUMN weight real NOT NULL GENERATED ALWAYS AS (coalesce((settings -> 'weight')::real, 1)) STORED;
CREATE POLICY for_relay ON tenant FOR SELECT TO diwan_relay USING (true);
GRANT SELECT (tenant, weight) ON tenant TO diwan_relay;
