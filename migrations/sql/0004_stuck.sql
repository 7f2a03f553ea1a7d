-- The relay also looks for cases that nobody moves, of all ministries: where each stands, since when, and what it
-- waits for. Still envelopes only: ids, numbers, machine names, times; nothing sealed, no reference, no person.

CREATE POLICY for_relay ON entry FOR SELECT TO diwan_relay USING (true);
CREATE POLICY for_relay ON inbox FOR SELECT TO diwan_relay USING (true);
CREATE POLICY for_relay ON task FOR SELECT TO diwan_relay USING (true);
GRANT SELECT (number, state) ON case_file TO diwan_relay;
GRANT SELECT (tenant, chain, seq, at) ON entry TO diwan_relay;
GRANT SELECT (tenant, case_id, inbox_seq, accepted_at) ON inbox TO diwan_relay;
GRANT SELECT (tenant, case_id, kind, step, visit, status) ON task TO diwan_relay;

-- With the two of the first migration, one for each reason to ring: a look costs what is due, not what there is.
CREATE INDEX case_file_working ON case_file (rung_at) WHERE kind IN ('act', 'agent');
