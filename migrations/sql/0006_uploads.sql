-- An upload that no event names is removed after days: its sender lost the answer, or never came back. Nobody may
-- delete: the relay may have one such upload removed, and sees ids and times of them, in every ministry.

CREATE POLICY for_relay ON document FOR SELECT TO diwan_relay USING (case_id IS NULL AND event_id = '');
GRANT SELECT (tenant, id, received_at) ON document TO diwan_relay;
CREATE INDEX document_unnamed ON document (received_at) WHERE case_id IS NULL AND event_id = '';

-- Under the row's lock: an event that names the upload meanwhile keeps it, and one that comes later does not find it.
-- The owner, too, is held to a ministry by row security; the caller gets its own setting back.
CREATE FUNCTION diwan_remove_upload(of_tenant text, upload text, before timestamptz) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    address text;
    callers text := coalesce(current_setting('diwan.tenant', true), '');
BEGIN
    PERFORM set_config('diwan.tenant', of_tenant, true);
    DELETE FROM public.document d
        WHERE d.tenant = of_tenant AND d.id = upload AND d.case_id IS NULL AND d.event_id = '' AND d.received_at < before
        RETURNING d.blob INTO address;
    DELETE FROM public.blob b WHERE b.tenant = of_tenant AND b.hash = address;
    PERFORM set_config('diwan.tenant', callers, true);
    RETURN address IS NOT NULL;
END $$;
REVOKE ALL ON FUNCTION diwan_remove_upload(text, text, timestamptz) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION diwan_remove_upload(text, text, timestamptz) TO diwan_relay;
