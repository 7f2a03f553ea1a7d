-- An erasure begins as asked for. The rules of 0015 look at what a row was before: one that came as approved, or as begun,
-- would have gone past the second person and past a hold.
CREATE FUNCTION diwan_erasure_begins() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.status <> 'asked' OR NEW.decided_by <> '' OR NEW.decided_at IS NOT NULL OR NEW.started_at IS NOT NULL
        OR NEW.done_at IS NOT NULL
    THEN
        RAISE EXCEPTION 'erasure: it begins as asked for' USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER erasure_begins BEFORE INSERT ON erasure FOR EACH ROW EXECUTE FUNCTION diwan_erasure_begins();
