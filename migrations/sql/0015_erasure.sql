-- Erasing a case's data by destroying its keys (docs/erasure.md): somebody asks or the schedule proposes, another person
-- approves, the case worker carries it out; a legal hold stops it. Both are children of the case: every change is a
-- version with its entry.

CREATE TABLE erasure (
    tenant TEXT NOT NULL,
    id TEXT NOT NULL,
    case_id TEXT NOT NULL,
    classes TEXT[] NOT NULL,
    ground TEXT NOT NULL,
    legal_basis TEXT NOT NULL,
    reason_sealed BYTEA,
    kept_until date,
    status TEXT DEFAULT 'asked' NOT NULL,
    asked_by TEXT NOT NULL,
    asked_at timestamptz NOT NULL,
    decided_by TEXT DEFAULT '' NOT NULL,
    decided_at timestamptz,
    started_at timestamptz,
    done_at timestamptz,
    PRIMARY KEY (tenant, id),
    FOREIGN KEY (tenant, case_id) REFERENCES case_file (tenant, id),
    CONSTRAINT erasure_classes CHECK (cardinality(classes) > 0
        AND classes <@ ARRAY['decision', 'evidence', 'exchange']),
    CONSTRAINT erasure_ground CHECK (ground IN ('retention', 'request', 'unlawful', 'order')),
    CONSTRAINT erasure_status CHECK (status IN ('asked', 'approved', 'declined', 'started', 'done')
        AND (status = 'asked') = (decided_by = '') AND (decided_by = '') = (decided_at IS NULL)
        AND (status IN ('started', 'done')) = (started_at IS NOT NULL) AND (status = 'done') = (done_at IS NOT NULL)),
    -- Whoever asks does not approve, whatever the code thinks.
    CONSTRAINT erasure_four_eyes CHECK (status IN ('asked', 'declined') OR decided_by <> asked_by)
);
CREATE INDEX erasure_of_case ON erasure (tenant, case_id);
CREATE INDEX erasure_under_way ON erasure (tenant, status) WHERE status IN ('asked', 'approved', 'started');

CREATE TABLE legal_hold (
    tenant TEXT NOT NULL,
    id TEXT NOT NULL,
    case_id TEXT NOT NULL,
    reason_sealed BYTEA NOT NULL,
    placed_by TEXT NOT NULL,
    placed_at timestamptz NOT NULL,
    lifted_by TEXT DEFAULT '' NOT NULL,
    lifted_at timestamptz,
    lifted_because_sealed BYTEA,
    PRIMARY KEY (tenant, id),
    FOREIGN KEY (tenant, case_id) REFERENCES case_file (tenant, id),
    CONSTRAINT legal_hold_lifted CHECK ((lifted_by = '') = (lifted_at IS NULL)
        AND (lifted_at IS NULL) = (lifted_because_sealed IS NULL))
);
CREATE INDEX legal_hold_of_case ON legal_hold (tenant, case_id) WHERE lifted_at IS NULL;

-- What is looked for by the schedule: closed cases, the longest closed first.
CREATE INDEX case_file_closed ON case_file (tenant, procedure_hash, closed_at) WHERE closed_at IS NOT NULL;

-- Nothing is destroyed under a hold, and no hold comes when it is too late; both happen under the lock of the case's row.
CREATE FUNCTION diwan_erasure_goes_on() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.status IN ('declined', 'done') AND NEW IS DISTINCT FROM OLD THEN
        RAISE EXCEPTION 'erasure: what has ended stays' USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    IF (NEW.case_id, NEW.classes, NEW.ground, NEW.asked_by) IS DISTINCT FROM
        (OLD.case_id, OLD.classes, OLD.ground, OLD.asked_by) THEN
        RAISE EXCEPTION 'erasure: what is asked for stays' USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    IF NEW.status <> OLD.status AND NOT (
        (OLD.status = 'asked' AND NEW.status IN ('approved', 'declined'))
        OR (OLD.status = 'approved' AND NEW.status IN ('asked', 'declined', 'started'))
        OR (OLD.status = 'started' AND NEW.status = 'done')
    ) THEN
        RAISE EXCEPTION 'erasure: % does not follow %', NEW.status, OLD.status
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    IF NEW.status = 'started' AND OLD.status <> 'started' AND EXISTS (
        SELECT FROM public.legal_hold h
        WHERE h.tenant = NEW.tenant AND h.case_id = NEW.case_id AND h.lifted_at IS NULL
    ) THEN
        RAISE EXCEPTION 'erasure: a legal hold is on the case' USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER erasure_goes_on BEFORE UPDATE ON erasure FOR EACH ROW EXECUTE FUNCTION diwan_erasure_goes_on();

CREATE FUNCTION diwan_hold_in_time() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (
        SELECT FROM public.erasure e
        WHERE e.tenant = NEW.tenant AND e.case_id = NEW.case_id AND e.status = 'started'
    ) THEN
        RAISE EXCEPTION 'legal_hold: keys of the case are being destroyed'
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER legal_hold_in_time BEFORE INSERT ON legal_hold FOR EACH ROW EXECUTE FUNCTION diwan_hold_in_time();

-- By what a person is found (HMAC under a key of the ministry's, which stays) goes with the case's decision key. Only
-- while such an erasure is carried out, and to nothing but the empty text.
CREATE FUNCTION diwan_forget_parties(of_tenant text, of_case text) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    forgotten integer;
    callers text := coalesce(current_setting('diwan.tenant', true), '');
BEGIN
    PERFORM set_config('diwan.tenant', of_tenant, true);
    IF NOT EXISTS (
        SELECT FROM public.erasure e WHERE e.tenant = of_tenant AND e.case_id = of_case
            AND e.status = 'started' AND 'decision' = ANY (e.classes)
    ) THEN
        RAISE EXCEPTION 'party: no erasure of this case is being carried out'
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    UPDATE public.party p SET name_token = '', identity_token = '' WHERE p.tenant = of_tenant AND p.case_id = of_case;
    GET DIAGNOSTICS forgotten = ROW_COUNT;
    PERFORM set_config('diwan.tenant', callers, true);
    RETURN forgotten;
END $$;
REVOKE ALL ON FUNCTION diwan_forget_parties(text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION diwan_forget_parties(text, text) TO diwan_worker;

DO $$
DECLARE
    t text;
BEGIN
    FOREACH t IN ARRAY ARRAY['erasure', 'legal_hold'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', t);
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', t);
        EXECUTE format(
            'CREATE POLICY of_tenant ON %I USING (tenant = nullif(current_setting(''diwan.tenant'', true), '''')) '
            'WITH CHECK (tenant = nullif(current_setting(''diwan.tenant'', true), ''''))', t);
        EXECUTE format(
            'CREATE CONSTRAINT TRIGGER %I AFTER INSERT OR UPDATE OR DELETE ON %I DEFERRABLE INITIALLY DEFERRED '
            'FOR EACH ROW EXECUTE FUNCTION diwan_child_changed()', t || '_of_version', t);
    END LOOP;
END $$;

GRANT SELECT ON erasure, legal_hold TO diwan_web, diwan_worker, diwan_auditor;
GRANT INSERT ON erasure TO diwan_web, diwan_worker;
GRANT UPDATE (status, decided_by, decided_at) ON erasure TO diwan_web;
GRANT UPDATE (status, started_at, done_at) ON erasure TO diwan_worker;
GRANT INSERT ON legal_hold TO diwan_web;
GRANT UPDATE (lifted_by, lifted_at, lifted_because_sealed) ON legal_hold TO diwan_web;
