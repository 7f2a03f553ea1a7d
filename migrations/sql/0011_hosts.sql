-- By how many seconds a host's own clock is ahead of the database's, as it saw last (diwan/pool/clock.py).
ALTER TABLE pool_host ADD COLUMN clock_off_s DOUBLE PRECISION NOT NULL DEFAULT 0;

-- A host that gave no sign of life for days is forgotten: names are made up where operators give none, so every start
-- would leave a row. Nobody may delete; the relay may have this done, and sees what went. The owner, too, is held by row
-- security: it sees those that are gone, and no other.
CREATE POLICY of_the_gone ON pool_host TO CURRENT_USER USING (seen_at < now() - interval '1 day');

CREATE FUNCTION diwan_forget_hosts(unseen interval) RETURNS TABLE (host text, model text, unseen_s double precision)
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    DELETE FROM public.pool_host h WHERE h.seen_at < now() - unseen
        RETURNING h.host, h.model, extract(epoch FROM now() - h.seen_at)::float8;
$$;
REVOKE ALL ON FUNCTION diwan_forget_hosts(interval) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION diwan_forget_hosts(interval) TO diwan_relay;
