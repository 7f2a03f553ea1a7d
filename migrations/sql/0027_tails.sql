-- A log that was left for one of another origin takes in no more (docs/ledger.md, ADR 0024). Entries in it that no signed
-- checkpoint covers, and that its signer does not sign any more, could be proved to nobody: they go back among those that wait
-- for a place. Nothing that a checkpoint covers moves, whoever asks; and no leaf goes without its entry's waiting again.

-- How many entries of a log a signed checkpoint covers; whether the ledger went on in a log of another origin.
CREATE FUNCTION diwan_signed_size(of_shard text) RETURNS bigint LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT greatest((SELECT coalesce(max(c.size), 0) FROM public.ledger_checkpoint c WHERE c.shard = of_shard),
                    (SELECT coalesce(max(w.size), 0) FROM public.ledger_cosigned w WHERE w.shard = of_shard))
$$;
CREATE FUNCTION diwan_log_left(of_shard text) RETURNS boolean LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT EXISTS (SELECT FROM public.ledger_shard s JOIN public.ledger_shard l ON l.opened_at > s.opened_at
                   WHERE s.name = of_shard AND left(l.origin, length(l.origin) - 5) <> left(s.origin, length(s.origin) - 5))
$$;
REVOKE ALL ON FUNCTION diwan_signed_size(text), diwan_log_left(text) FROM PUBLIC;

CREATE FUNCTION diwan_leaf_goes() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM (SELECT g.shard, min(g.idx) AS first FROM gone g GROUP BY g.shard) s
               WHERE NOT public.diwan_log_left(s.shard) OR s.first < public.diwan_signed_size(s.shard)) THEN
        RAISE EXCEPTION 'ledger_leaf: what is written stays' USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    INSERT INTO public.ledger_pending (tenant, chain, seq, hash, added_at)
        SELECT g.tenant, g.chain, g.seq, g.hash, g.added_at FROM gone g;
    RETURN NULL;
END $$;
DROP TRIGGER ledger_leaf_stays ON ledger_leaf;
CREATE TRIGGER ledger_leaf_stays BEFORE UPDATE ON ledger_leaf FOR EACH ROW EXECUTE FUNCTION diwan_tree_stays();
CREATE TRIGGER ledger_leaf_goes AFTER DELETE ON ledger_leaf REFERENCING OLD TABLE AS gone
    FOR EACH STATEMENT EXECUTE FUNCTION diwan_leaf_goes();

-- A tile of level n says one hash for 256^n leaves that are all there: of a size, size >> 8n of them.
CREATE FUNCTION diwan_tile_goes() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NOT public.diwan_log_left(OLD.shard)
        OR OLD.idx * 256 < public.diwan_signed_size(OLD.shard) >> (8 * OLD.level) THEN
        RAISE EXCEPTION 'ledger_tile: what is written stays' USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN OLD;
END $$;
DROP TRIGGER ledger_tile_stays ON ledger_tile;
CREATE TRIGGER ledger_tile_stays BEFORE DELETE ON ledger_tile FOR EACH ROW EXECUTE FUNCTION diwan_tile_goes();

-- As before (0016_cosigned.sql), but that a log that was left becomes what its last checkpoint covers.
CREATE OR REPLACE FUNCTION diwan_tree_grows() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_TABLE_NAME = 'ledger_tile' THEN
        IF (NEW.shard, NEW.level, NEW.idx) IS DISTINCT FROM (OLD.shard, OLD.level, OLD.idx)
            OR substr(NEW.hashes, 1, octet_length(OLD.hashes)) <> OLD.hashes THEN
            IF (NEW.shard, NEW.level, NEW.idx) IS DISTINCT FROM (OLD.shard, OLD.level, OLD.idx)
                OR substr(OLD.hashes, 1, octet_length(NEW.hashes)) <> NEW.hashes
                OR NOT public.diwan_log_left(OLD.shard)
                OR OLD.idx * 256 + octet_length(NEW.hashes) / 32 < public.diwan_signed_size(OLD.shard) >> (8 * OLD.level)
            THEN
                RAISE EXCEPTION 'ledger_tile: a tile only grows' USING ERRCODE = 'integrity_constraint_violation';
            END IF;
        END IF;
    ELSIF TG_TABLE_NAME = 'ledger_checkpoint' THEN
        IF (NEW.shard, NEW.hour) IS DISTINCT FROM (OLD.shard, OLD.hour) OR NEW.size < OLD.size
            OR (NEW.size = OLD.size AND (NEW.root <> OLD.root OR octet_length(NEW.note) <= octet_length(OLD.note)
                                         OR substr(NEW.note, 1, octet_length(OLD.note)) <> OLD.note)) THEN
            RAISE EXCEPTION 'ledger_checkpoint: it only grows' USING ERRCODE = 'integrity_constraint_violation';
        END IF;
    ELSE
        IF (NEW.name, NEW.origin, NEW.opened_at) IS DISTINCT FROM (OLD.name, OLD.origin, OLD.opened_at)
            OR (NEW.size = OLD.size AND NEW.root <> OLD.root) THEN
            RAISE EXCEPTION 'ledger_shard: a shard only grows' USING ERRCODE = 'integrity_constraint_violation';
        ELSIF NEW.size < OLD.size THEN
            IF NOT public.diwan_log_left(OLD.name) OR NEW.size <> public.diwan_signed_size(OLD.name) THEN
                RAISE EXCEPTION 'ledger_shard: a shard only grows' USING ERRCODE = 'integrity_constraint_violation';
            END IF;
        END IF;
    END IF;
    RETURN NEW;
END $$;

-- The owner, too, is held by row security, but within this function.
DO $$
DECLARE
    t text;
BEGIN
    FOREACH t IN ARRAY ARRAY['ledger_pending', 'ledger_shard', 'ledger_leaf', 'ledger_tile', 'ledger_checkpoint',
                             'ledger_cosigned', 'ledger_index', 'ledger_index_reach'] LOOP
        EXECUTE format(
            'CREATE POLICY of_moving ON %I TO CURRENT_USER USING (current_setting(''diwan.moves_tail'', true) = ''yes'') '
            'WITH CHECK (current_setting(''diwan.moves_tail'', true) = ''yes'')', t);
    END LOOP;
END $$;

-- Takes the entries that no signed checkpoint covers out of a log that was left, of their tiles and of the index that searches
-- fill, and has them wait for a place; how many. None (-1) where a later entry of their chains has its place elsewhere.
CREATE FUNCTION diwan_move_tail(of_shard text) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    had bigint;
    keep bigint;
    moved bigint;
BEGIN
    PERFORM set_config('diwan.moves_tail', 'yes', true);
    -- Whoever puts entries into the index waits, and so does whoever keeps a checkpoint: its row refers to the shard's.
    LOCK TABLE public.ledger_index_reach IN SHARE ROW EXCLUSIVE MODE;
    SELECT s.size INTO STRICT had FROM public.ledger_shard s WHERE s.name = of_shard FOR UPDATE;
    keep := public.diwan_signed_size(of_shard);
    IF EXISTS (SELECT FROM public.ledger_leaf l JOIN public.ledger_leaf m
               ON m.tenant = l.tenant AND m.chain = l.chain AND m.seq > l.seq AND m.shard <> l.shard
               WHERE l.shard = of_shard AND l.idx >= keep) THEN
        PERFORM set_config('diwan.moves_tail', '', true);
        RETURN -1;
    END IF;
    DELETE FROM public.ledger_leaf l WHERE l.shard = of_shard AND l.idx >= keep;
    GET DIAGNOSTICS moved = ROW_COUNT;
    IF moved <> had - keep THEN
        RAISE EXCEPTION 'ledger_leaf: % leaves beyond % of %', moved, keep, had USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    DELETE FROM public.ledger_tile t WHERE t.shard = of_shard AND t.idx * 256 >= keep >> (8 * t.level);
    UPDATE public.ledger_tile t SET hashes = substr(t.hashes, 1, ((keep >> (8 * t.level)) - t.idx * 256)::integer * 32)
        WHERE t.shard = of_shard AND t.idx * 256 + octet_length(t.hashes) / 32 > keep >> (8 * t.level);
    UPDATE public.ledger_shard s SET size = keep, root = coalesce(
        (SELECT c.root FROM public.ledger_checkpoint c WHERE c.shard = of_shard AND c.size = keep LIMIT 1),
        (SELECT w.root FROM public.ledger_cosigned w WHERE w.shard = of_shard AND w.size = keep), sha256(''))
        WHERE s.name = of_shard;
    DELETE FROM public.ledger_index i USING public.ledger_index_reach r
        WHERE r.shard = of_shard AND (i.tenant, i.shard) = (r.tenant, r.shard) AND i.idx >= keep;
    UPDATE public.ledger_index_reach r SET reach = keep WHERE r.shard = of_shard AND r.reach > keep;
    PERFORM set_config('diwan.moves_tail', '', true);
    RETURN moved;
END $$;
REVOKE ALL ON FUNCTION diwan_move_tail(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION diwan_move_tail(text) TO diwan_sequencer;
