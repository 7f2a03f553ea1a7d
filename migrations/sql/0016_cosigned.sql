-- Checkpoints that witnesses cosigned (docs/witnesses.md), with their lines. Of an hour, those that no later one outdoes: that
-- one has the lines of all witnesses that this one has. So a witness that is away costs the others' nothing, and a log that
-- grows all day keeps a few an hour.
CREATE TABLE ledger_cosigned (
    shard TEXT NOT NULL,
    size BIGINT NOT NULL,
    hour timestamptz NOT NULL DEFAULT date_trunc('hour', now()),
    root BYTEA NOT NULL,
    note BYTEA NOT NULL,
    witnesses TEXT[] NOT NULL,
    cosigned_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (shard, size),
    FOREIGN KEY (shard) REFERENCES ledger_shard (name)
);

-- A cosignature may join those that are there; none goes but with a checkpoint that a later one outdoes.
CREATE FUNCTION diwan_cosigned_stays() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'UPDATE' THEN
        IF (NEW.shard, NEW.size, NEW.hour, NEW.root) IS DISTINCT FROM (OLD.shard, OLD.size, OLD.hour, OLD.root)
            OR substr(NEW.note, 1, octet_length(OLD.note)) <> OLD.note OR NOT NEW.witnesses @> OLD.witnesses THEN
            RAISE EXCEPTION 'ledger_cosigned: it only grows' USING ERRCODE = 'integrity_constraint_violation';
        END IF;
        RETURN NEW;
    END IF;
    IF NOT EXISTS (SELECT FROM public.ledger_cosigned c WHERE c.shard = OLD.shard AND c.hour = OLD.hour
                   AND c.size > OLD.size AND c.witnesses @> OLD.witnesses) THEN
        RAISE EXCEPTION 'ledger_cosigned: no later one has its cosignatures' USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN OLD;
END $$;
CREATE TRIGGER ledger_cosigned_stays BEFORE UPDATE OR DELETE ON ledger_cosigned
    FOR EACH ROW EXECUTE FUNCTION diwan_cosigned_stays();
CREATE TRIGGER ledger_cosigned_stays_whole BEFORE TRUNCATE ON ledger_cosigned
    FOR EACH STATEMENT EXECUTE FUNCTION diwan_tree_stays();

-- A checkpoint may be signed by a second key, when the log's key is exchanged.
CREATE OR REPLACE FUNCTION diwan_tree_grows() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_TABLE_NAME = 'ledger_tile' THEN
        IF (NEW.shard, NEW.level, NEW.idx) IS DISTINCT FROM (OLD.shard, OLD.level, OLD.idx)
            OR substr(NEW.hashes, 1, octet_length(OLD.hashes)) <> OLD.hashes THEN
            RAISE EXCEPTION 'ledger_tile: a tile only grows' USING ERRCODE = 'integrity_constraint_violation';
        END IF;
    ELSIF TG_TABLE_NAME = 'ledger_checkpoint' THEN
        IF (NEW.shard, NEW.hour) IS DISTINCT FROM (OLD.shard, OLD.hour) OR NEW.size < OLD.size
            OR (NEW.size = OLD.size AND (NEW.root <> OLD.root OR octet_length(NEW.note) <= octet_length(OLD.note)
                                         OR substr(NEW.note, 1, octet_length(OLD.note)) <> OLD.note)) THEN
            RAISE EXCEPTION 'ledger_checkpoint: it only grows' USING ERRCODE = 'integrity_constraint_violation';
        END IF;
    ELSIF (NEW.name, NEW.origin, NEW.opened_at) IS DISTINCT FROM (OLD.name, OLD.origin, OLD.opened_at)
        OR NEW.size < OLD.size OR (NEW.size = OLD.size AND NEW.root <> OLD.root) THEN
        RAISE EXCEPTION 'ledger_shard: a shard only grows' USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NEW;
END $$;

ALTER TABLE ledger_cosigned ENABLE ROW LEVEL SECURITY;
ALTER TABLE ledger_cosigned FORCE ROW LEVEL SECURITY;
CREATE POLICY for_sequencer ON ledger_cosigned TO diwan_sequencer USING (true) WITH CHECK (true);
CREATE POLICY of_no_tenant ON ledger_cosigned FOR SELECT TO diwan_web, diwan_auditor USING (true);
GRANT SELECT, INSERT, DELETE ON ledger_cosigned TO diwan_sequencer;
GRANT UPDATE (note, witnesses, cosigned_at) ON ledger_cosigned TO diwan_sequencer;
GRANT SELECT ON ledger_cosigned TO diwan_web, diwan_auditor;
