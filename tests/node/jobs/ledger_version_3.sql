-- The tables as ledger version 3 made them. Version 2 is the same without commitment.
CREATE TABLE event (
    id INTEGER NOT NULL,
    at VARCHAR(27) NOT NULL,
    name VARCHAR(48) NOT NULL,
    job_id VARCHAR(32),
    study_instance_uid VARCHAR(64),
    fields JSON NOT NULL,
    PRIMARY KEY (id)
);
CREATE INDEX ix_event_job_id ON event (job_id);
CREATE TABLE job (
    job_id VARCHAR(32) NOT NULL,
    acquisition_key TEXT NOT NULL,
    study_instance_uid VARCHAR(64) NOT NULL,
    revision INTEGER NOT NULL,
    predecessor_job_id VARCHAR(32),
    cause VARCHAR(16) NOT NULL,
    region_uid VARCHAR(64),
    method_version VARCHAR(16) NOT NULL,
    settings_digest VARCHAR(32) NOT NULL,
    accepted_at VARCHAR(27) NOT NULL,
    missing JSON NOT NULL,
    state VARCHAR(16) NOT NULL,
    attempts INTEGER NOT NULL,
    lease_owner VARCHAR(255),
    lease_until VARCHAR(27),
    heartbeat_at VARCHAR(27),
    not_before VARCHAR(27),
    last_rung_at VARCHAR(27),
    finished_at VARCHAR(27),
    error TEXT,
    outcome VARCHAR(16),
    record JSON,
    PRIMARY KEY (job_id)
);
CREATE INDEX ix_job_study_instance_uid ON job (study_instance_uid);
CREATE INDEX job_by_state ON job (state, last_rung_at);
CREATE TABLE meta (
    "key" VARCHAR(64) NOT NULL,
    value VARCHAR(64) NOT NULL,
    PRIMARY KEY ("key")
);
CREATE TABLE study (
    study_instance_uid VARCHAR(64) NOT NULL,
    last_arrival_at VARCHAR(27) NOT NULL,
    open BOOLEAN NOT NULL,
    PRIMARY KEY (study_instance_uid)
);
CREATE TABLE acquisition (
    study_instance_uid VARCHAR(64) NOT NULL,
    acquisition_key TEXT NOT NULL,
    state VARCHAR(16) NOT NULL,
    code VARCHAR(64),
    text TEXT,
    missing JSON NOT NULL,
    n_instances INTEGER NOT NULL,
    changed_at VARCHAR(27) NOT NULL,
    PRIMARY KEY (study_instance_uid, acquisition_key),
    FOREIGN KEY(study_instance_uid) REFERENCES study (study_instance_uid)
);
CREATE TABLE commitment (
    job_id VARCHAR(32) NOT NULL,
    destination VARCHAR(32) NOT NULL,
    sop_instance_uid VARCHAR(64) NOT NULL,
    sop_class_uid VARCHAR(64) NOT NULL,
    state VARCHAR(16) NOT NULL,
    transaction_uid VARCHAR(64),
    unanswered INTEGER NOT NULL,
    failures INTEGER NOT NULL,
    refusals INTEGER NOT NULL,
    next_try_at VARCHAR(27),
    last_detail TEXT,
    committed_at VARCHAR(27),
    PRIMARY KEY (job_id, destination, sop_instance_uid),
    FOREIGN KEY(job_id) REFERENCES job (job_id)
);
CREATE INDEX commitment_due ON commitment (state, destination, next_try_at);
CREATE INDEX ix_commitment_transaction_uid ON commitment (transaction_uid);
CREATE TABLE delivery (
    job_id VARCHAR(32) NOT NULL,
    destination VARCHAR(32) NOT NULL,
    sop_instance_uid VARCHAR(64) NOT NULL,
    position INTEGER NOT NULL,
    role VARCHAR(64) NOT NULL,
    file TEXT NOT NULL,
    state VARCHAR(16) NOT NULL,
    attempts INTEGER NOT NULL,
    next_try_at VARCHAR(27) NOT NULL,
    last_detail TEXT,
    sent_at VARCHAR(27),
    PRIMARY KEY (job_id, destination, sop_instance_uid),
    FOREIGN KEY(job_id) REFERENCES job (job_id)
);
CREATE INDEX delivery_due ON delivery (state, destination, next_try_at);
CREATE TABLE instance (
    sop_instance_uid VARCHAR(64) NOT NULL,
    study_instance_uid VARCHAR(64) NOT NULL,
    received_at VARCHAR(27) NOT NULL,
    calling_ae_title VARCHAR(16) NOT NULL,
    size_bytes INTEGER NOT NULL,
    header JSON NOT NULL,
    PRIMARY KEY (sop_instance_uid),
    FOREIGN KEY(study_instance_uid) REFERENCES study (study_instance_uid)
);
CREATE INDEX ix_instance_study_instance_uid ON instance (study_instance_uid);
CREATE TABLE job_instance (
    job_id VARCHAR(32) NOT NULL,
    sop_instance_uid VARCHAR(64) NOT NULL,
    PRIMARY KEY (job_id, sop_instance_uid),
    FOREIGN KEY(job_id) REFERENCES job (job_id)
);
CREATE INDEX ix_job_instance_sop_instance_uid ON job_instance (sop_instance_uid);
