-- The ledger's tree (docs/ledger.md): one for the whole service, a shard a year. It is built outside the transactions that
-- write entries, by the sequencer, and holds no personal data: hashes, and which entry each leaf is.

DO $$
DECLARE
    unsafe boolean;
BEGIN
    -- Made before, as a rule: by the ministry's own administrator, who also gives the password (deploy/roles.sql).
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'diwan_sequencer') THEN
        CREATE ROLE diwan_sequencer LOGIN NOSUPERUSER NOBYPASSRLS NOCREATEDB NOCREATEROLE;
    END IF;
    SELECT rolsuper OR rolbypassrls INTO unsafe FROM pg_roles WHERE rolname = 'diwan_sequencer';
    IF unsafe THEN
        RAISE EXCEPTION 'role diwan_sequencer skips row security: take SUPERUSER and BYPASSRLS from it';
    END IF;
    GRANT USAGE ON SCHEMA public TO diwan_sequencer;
    GRANT SELECT ON alembic_version TO diwan_sequencer;
END $$;

-- Entries without a place yet. An id as a watermark would skip those that commit late; a row here cannot be missed.
CREATE TABLE ledger_pending (
    tenant TEXT NOT NULL,
    chain TEXT NOT NULL,
    seq BIGINT NOT NULL,
    hash BYTEA NOT NULL,
    added_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (tenant, chain, seq)
);

CREATE TABLE ledger_shard (
    name TEXT NOT NULL,
    origin TEXT NOT NULL,
    size BIGINT NOT NULL DEFAULT 0,
    root BYTEA NOT NULL,
    opened_at timestamptz NOT NULL,
    PRIMARY KEY (name),
    UNIQUE (origin),
    CONSTRAINT ledger_shard_name CHECK (name ~ '^[0-9]{4}(-[0-9]+)?$'),
    CONSTRAINT ledger_shard_root CHECK (size >= 0 AND octet_length(root) = 32)
);

-- No key to `entry`: it would lock, and so write anew, each entry's row. They stay, and are compared by those who verify.
CREATE TABLE ledger_leaf (
    shard TEXT NOT NULL,
    idx BIGINT NOT NULL,
    tenant TEXT NOT NULL,
    chain TEXT NOT NULL,
    seq BIGINT NOT NULL,
    hash BYTEA NOT NULL,
    added_at timestamptz NOT NULL,
    placed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (shard, idx),
    UNIQUE (tenant, chain, seq),
    FOREIGN KEY (shard) REFERENCES ledger_shard (name),
    CONSTRAINT ledger_leaf_idx CHECK (idx >= 0)
);

-- The bytes of a tile, of which a narrower one is the beginning.
CREATE TABLE ledger_tile (
    shard TEXT NOT NULL,
    level SMALLINT NOT NULL,
    idx BIGINT NOT NULL,
    hashes BYTEA NOT NULL,
    PRIMARY KEY (shard, level, idx),
    FOREIGN KEY (shard) REFERENCES ledger_shard (name),
    CONSTRAINT ledger_tile_hashes CHECK (
        level >= 0 AND idx >= 0 AND octet_length(hashes) BETWEEN 32 AND 8192 AND octet_length(hashes) % 32 = 0
    )
);
-- Hashes do not get smaller; what is not tried costs nothing.
ALTER TABLE ledger_tile ALTER COLUMN hashes SET STORAGE EXTERNAL;

-- The last of each hour, and so the newest: one a second is signed while the log grows, and whoever was given one has it.
CREATE TABLE ledger_checkpoint (
    shard TEXT NOT NULL,
    hour timestamptz NOT NULL,
    size BIGINT NOT NULL,
    root BYTEA NOT NULL,
    note BYTEA NOT NULL,
    published_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (shard, hour),
    FOREIGN KEY (shard) REFERENCES ledger_shard (name)
);

-- Every entry waits for its place from the moment it is written, whoever writes it.
CREATE FUNCTION diwan_entry_pending() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    INSERT INTO public.ledger_pending (tenant, chain, seq, hash) VALUES (NEW.tenant, NEW.chain, NEW.seq, NEW.hash);
    RETURN NULL;
END $$;
REVOKE ALL ON FUNCTION diwan_entry_pending() FROM PUBLIC;
CREATE TRIGGER entry_pending AFTER INSERT ON entry FOR EACH ROW EXECUTE FUNCTION diwan_entry_pending();

-- The tree only grows.
CREATE FUNCTION diwan_tree_stays() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '%: what is written stays', TG_TABLE_NAME USING ERRCODE = 'integrity_constraint_violation';
END $$;
CREATE TRIGGER ledger_leaf_stays BEFORE UPDATE OR DELETE ON ledger_leaf
    FOR EACH ROW EXECUTE FUNCTION diwan_tree_stays();
CREATE TRIGGER ledger_checkpoint_stays BEFORE DELETE ON ledger_checkpoint
    FOR EACH ROW EXECUTE FUNCTION diwan_tree_stays();
CREATE TRIGGER ledger_tile_stays BEFORE DELETE ON ledger_tile FOR EACH ROW EXECUTE FUNCTION diwan_tree_stays();
CREATE TRIGGER ledger_shard_stays BEFORE DELETE ON ledger_shard FOR EACH ROW EXECUTE FUNCTION diwan_tree_stays();

CREATE FUNCTION diwan_tree_grows() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_TABLE_NAME = 'ledger_tile' THEN
        IF (NEW.shard, NEW.level, NEW.idx) IS DISTINCT FROM (OLD.shard, OLD.level, OLD.idx)
            OR substr(NEW.hashes, 1, octet_length(OLD.hashes)) <> OLD.hashes THEN
            RAISE EXCEPTION 'ledger_tile: a tile only grows' USING ERRCODE = 'integrity_constraint_violation';
        END IF;
    ELSIF TG_TABLE_NAME = 'ledger_checkpoint' THEN
        IF (NEW.shard, NEW.hour) IS DISTINCT FROM (OLD.shard, OLD.hour) OR NEW.size <= OLD.size THEN
            RAISE EXCEPTION 'ledger_checkpoint: it only grows' USING ERRCODE = 'integrity_constraint_violation';
        END IF;
    ELSIF (NEW.name, NEW.origin, NEW.opened_at) IS DISTINCT FROM (OLD.name, OLD.origin, OLD.opened_at)
        OR NEW.size < OLD.size OR (NEW.size = OLD.size AND NEW.root <> OLD.root) THEN
        RAISE EXCEPTION 'ledger_shard: a shard only grows' USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER ledger_tile_grows BEFORE UPDATE ON ledger_tile FOR EACH ROW EXECUTE FUNCTION diwan_tree_grows();
CREATE TRIGGER ledger_checkpoint_grows BEFORE UPDATE ON ledger_checkpoint
    FOR EACH ROW EXECUTE FUNCTION diwan_tree_grows();
CREATE TRIGGER ledger_shard_grows BEFORE UPDATE ON ledger_shard FOR EACH ROW EXECUTE FUNCTION diwan_tree_grows();

CREATE TRIGGER ledger_leaf_stays_whole BEFORE TRUNCATE ON ledger_leaf
    FOR EACH STATEMENT EXECUTE FUNCTION diwan_tree_stays();
CREATE TRIGGER ledger_checkpoint_stays_whole BEFORE TRUNCATE ON ledger_checkpoint
    FOR EACH STATEMENT EXECUTE FUNCTION diwan_tree_stays();
CREATE TRIGGER ledger_tile_stays_whole BEFORE TRUNCATE ON ledger_tile
    FOR EACH STATEMENT EXECUTE FUNCTION diwan_tree_stays();

-- Whoever verifies must see that every leaf is somebody's, without seeing whose entries they are: the place, the ministry
-- and the hash. The owner, too, is held by row security, but within this function.
CREATE POLICY of_owner ON ledger_leaf FOR SELECT TO CURRENT_USER
    USING (current_setting('diwan.all_leaves', true) = 'yes');
CREATE FUNCTION diwan_leaves(of_shard text, after bigint, at_most integer)
RETURNS TABLE (idx bigint, tenant text, hash bytea)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM set_config('diwan.all_leaves', 'yes', true);
    RETURN QUERY SELECT l.idx, l.tenant, l.hash FROM public.ledger_leaf l
        WHERE l.shard = of_shard AND l.idx > after ORDER BY l.idx LIMIT at_most;
    PERFORM set_config('diwan.all_leaves', '', true);
END $$;
REVOKE ALL ON FUNCTION diwan_leaves(text, bigint, integer) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION diwan_leaves(text, bigint, integer) TO diwan_auditor;

-- Rows that name an entry are its ministry's; hashes and checkpoints are no ministry's, and public.
DO $$
DECLARE
    t text;
BEGIN
    FOREACH t IN ARRAY ARRAY['ledger_pending', 'ledger_shard', 'ledger_leaf', 'ledger_tile', 'ledger_checkpoint'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', t);
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', t);
        EXECUTE format('CREATE POLICY for_sequencer ON %I TO diwan_sequencer USING (true) WITH CHECK (true)', t);
    END LOOP;
    FOREACH t IN ARRAY ARRAY['ledger_pending', 'ledger_leaf'] LOOP
        EXECUTE format(
            'CREATE POLICY of_tenant ON %I USING (tenant = nullif(current_setting(''diwan.tenant'', true), '''')) '
            'WITH CHECK (tenant = nullif(current_setting(''diwan.tenant'', true), ''''))', t);
    END LOOP;
    FOREACH t IN ARRAY ARRAY['ledger_shard', 'ledger_tile', 'ledger_checkpoint'] LOOP
        EXECUTE format('CREATE POLICY of_no_tenant ON %I FOR SELECT TO diwan_web, diwan_auditor USING (true)', t);
    END LOOP;
END $$;

-- The sequencer sees hashes, and nothing that they are of.
GRANT SELECT, DELETE ON ledger_pending TO diwan_sequencer;
GRANT SELECT, INSERT ON ledger_leaf, ledger_checkpoint TO diwan_sequencer;
GRANT SELECT, INSERT ON ledger_shard, ledger_tile TO diwan_sequencer;
GRANT UPDATE (size, root) ON ledger_shard TO diwan_sequencer;
GRANT UPDATE (hashes) ON ledger_tile TO diwan_sequencer;
GRANT UPDATE (size, root, note, published_at) ON ledger_checkpoint TO diwan_sequencer;
GRANT SELECT ON ledger_shard, ledger_leaf, ledger_tile, ledger_checkpoint TO diwan_web, diwan_auditor;
GRANT SELECT ON ledger_pending TO diwan_auditor;

-- What was written before there was a tree waits for its place like everything else. The owner, too, is held by row
-- security: for this statement alone it is not.
ALTER TABLE entry NO FORCE ROW LEVEL SECURITY;
ALTER TABLE ledger_pending NO FORCE ROW LEVEL SECURITY;
INSERT INTO ledger_pending (tenant, chain, seq, hash) SELECT tenant, chain, seq, hash FROM entry;
ALTER TABLE ledger_pending FORCE ROW LEVEL SECURITY;
ALTER TABLE entry FORCE ROW LEVEL SECURITY;
