-- What a workspace may call. Defaults that are constants rewrite no row; workers of the release before go on without
-- the rules until they are replaced.
ALTER TABLE workspaces
    ADD COLUMN countries text[] CHECK (cardinality(countries) > 0),  -- ISO 3166 codes; NULL: every country
    ADD COLUMN premium_rate boolean NOT NULL DEFAULT false;          -- also shared-cost numbers
