-- Of a leaf whoever verifies learns whose it is, whether that ministry was set up here, and whether it has the entry: one
-- of the leaf's hash, whose header says the same ministry. So leaves of entries that were taken out cannot be made
-- another's unseen. Nothing else of another ministry's entry is shown, and of nobody's to any role but the auditor's.
DROP FUNCTION diwan_leaves(text, bigint, integer);

CREATE POLICY of_owner ON entry FOR SELECT TO CURRENT_USER USING (current_setting('diwan.all_leaves', true) = 'yes');
CREATE POLICY of_owner ON tenant FOR SELECT TO CURRENT_USER USING (current_setting('diwan.all_leaves', true) = 'yes');

-- NULL for what is no header: somebody wrote it past the service.
CREATE FUNCTION diwan_header_tenant(header bytea) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
    RETURN pg_catalog.convert_from(header, 'UTF8')::pg_catalog.json OPERATOR(pg_catalog.->>) 'tenant';
EXCEPTION WHEN data_exception THEN
    RETURN NULL;
END $$;
REVOKE ALL ON FUNCTION diwan_header_tenant(bytea) FROM PUBLIC;

CREATE FUNCTION diwan_leaves(of_shard text, after bigint, at_most integer)
RETURNS TABLE (idx bigint, tenant text, hash bytea, stands boolean, known boolean)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM set_config('diwan.all_leaves', 'yes', true);
    RETURN QUERY SELECT l.idx, l.tenant, l.hash,
        CASE WHEN e.hash = l.hash AND sha256('\x00'::bytea || e.header) = l.hash
            THEN coalesce(public.diwan_header_tenant(e.header) = l.tenant, false) ELSE false END,
        EXISTS (SELECT FROM public.tenant t WHERE t.tenant = l.tenant)
        FROM (SELECT * FROM public.ledger_leaf a WHERE a.shard = of_shard AND a.idx > after ORDER BY a.idx LIMIT at_most) l
        LEFT JOIN public.entry e ON (e.tenant, e.chain, e.seq) = (l.tenant, l.chain, l.seq) ORDER BY l.idx;
    PERFORM set_config('diwan.all_leaves', '', true);
END $$;
REVOKE ALL ON FUNCTION diwan_leaves(text, bigint, integer) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION diwan_leaves(text, bigint, integer) TO diwan_auditor;
