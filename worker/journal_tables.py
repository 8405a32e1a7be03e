"""The journal's tables (SQLAlchemy Core), for SQLite in WAL mode and PostgreSQL.

UIDs of instances live here and nowhere else outside the objects; no other header value is kept (ADR 0009). Times
are seconds since the epoch, UTC.
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
)

METADATA = MetaData()

_UID = String(64)
_KEY = String(16)

SERIES = Table(
    "series",
    METADATA,
    Column("series_key", _KEY, primary_key=True),
    Column("study_instance_uid", _UID, nullable=False),
    Column("series_instance_uid", _UID, nullable=False),
    Column("state", String(16), nullable=False),
    Column("reason", String(32), nullable=False),
    # counts how often the series has grown after it was complete
    Column("generation", Integer, nullable=False, default=0),
    Column("instances", Integer, nullable=False, default=0),
    Column("expected_instances", Integer),
    Column("question_set_id", String(64)),
    Column("received_at", Float, nullable=False),
    Column("last_instance_at", Float, nullable=False),
    Column("completed_at", Float),
    # who works on it, and until when that is believed
    Column("lease_owner", String(64)),
    Column("lease_until", Float, nullable=False, default=0.0),
    Column("attempts", Integer, nullable=False, default=0),
    Column("deliveries", Integer, nullable=False, default=0),
    Column("next_try_at", Float, nullable=False, default=0.0),
    Column("updated_at", Float, nullable=False),
    # the place in the worklist (sgmri.lanes): its lane, and when waiting brings it into the first one
    Column("lane", String(8), nullable=False, default="NORMAL"),
    Column("first_lane_at", Float, nullable=False, default=0.0),
    Index("series_by_state", "state", "next_try_at"),
    Index("series_by_place", "state", "first_lane_at", "next_try_at"),
    Index("series_by_coming", "received_at"),
)

# One row: every reading begins by changing it, so beginnings are one after the other, and none is after a suspension
WORKLIST = Table(
    "worklist",
    METADATA,
    Column("name", String(16), primary_key=True),
    Column("mode", String(16), nullable=False),
    Column("mode_since", Float, nullable=False),
    # when a reading last began
    Column("taken_at", Float),
)

SCHEMA = Table("journal_schema", METADATA, Column("version", Integer, primary_key=True))

INSTANCES = Table(
    "instances",
    METADATA,
    Column("series_key", _KEY, ForeignKey("series.series_key"), primary_key=True),
    Column("sop_instance_uid", _UID, primary_key=True),
    Column("sop_class_uid", _UID, nullable=False),
    Column("file_name", String(64), nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("generation", Integer, nullable=False),
    # the same UID has come again with other bytes; the first copy is kept
    Column("conflict", Boolean, nullable=False, default=False),
)

# Written with the instances that it speaks of: a journal that lost its last transaction has the checkpoint before it
CHECKPOINTS = Table(
    "checkpoints",
    METADATA,
    Column("name", String(16), primary_key=True),
    Column("at", Float, nullable=False),
)

RESULTS = Table(
    "results",
    METADATA,
    Column("series_key", _KEY, ForeignKey("series.series_key"), primary_key=True),
    Column("generation", Integer, primary_key=True),
    Column("kind", String(8), primary_key=True),
    # which destinations it is for: several whose profiles are equal share one object ("": the first profile)
    Column("form", String(16), primary_key=True, default=""),
    Column("sop_class_uid", _UID, nullable=False),
    Column("sop_instance_uid", _UID, nullable=False),
    Column("series_instance_uid", _UID, nullable=False),
    Column("file_name", String(64), nullable=False),
    Column("position", Integer, nullable=False),
    # when the first destination took it, and when the last of those that prove it took responsibility
    Column("stored_at", Float),
    Column("committed_at", Float),
)

_DESTINATION = String(32)

# How far one reading has come at one destination; state and reason are those of the lifecycle
DELIVERIES = Table(
    "deliveries",
    METADATA,
    Column("series_key", _KEY, ForeignKey("series.series_key"), primary_key=True),
    Column("generation", Integer, primary_key=True),
    Column("destination", _DESTINATION, primary_key=True),
    Column("form", String(16), nullable=False),
    Column("state", String(16), nullable=False),
    Column("reason", String(32), nullable=False),
    Column("tries", Integer, nullable=False, default=0),
    Column("next_try_at", Float, nullable=False, default=0.0),
    Column("since", Float, nullable=False),
    Column("stored_at", Float),
    Column("committed_at", Float),
    Column("lease_owner", String(64)),
    Column("lease_until", Float, nullable=False, default=0.0),
    Index("deliveries_by_state", "destination", "state", "next_try_at"),
)

# What one destination did with one object. The same object in two generations is one row: it is sent once
DELIVERED = Table(
    "delivered",
    METADATA,
    Column("destination", _DESTINATION, primary_key=True),
    Column("sop_instance_uid", _UID, primary_key=True),
    Column("series_key", _KEY, ForeignKey("series.series_key"), nullable=False, index=True),
    Column("stored_at", Float),
    Column("committed_at", Float),
    # why the destination does not take it
    Column("reason", String(32), nullable=False),
)

# Destinations that cannot be reached: shared, so that all workers leave them alone together
BREAKERS = Table(
    "breakers",
    METADATA,
    Column("destination", _DESTINATION, primary_key=True),
    Column("failures", Integer, nullable=False),
    # when the next probe is due; 0 while the destination is called as usual
    Column("probe_at", Float, nullable=False),
)

# How far those have come who follow the timeline
TAILS = Table(
    "tails",
    METADATA,
    Column("name", String(16), primary_key=True),
    # of the last event that need not be looked at after a restart
    Column("event_id", Integer, nullable=False),
)

# Processes that read or deliver, as long as they show signs of life
WORKERS = Table(
    "workers",
    METADATA,
    Column("worker", String(64), primary_key=True),
    Column("queues", String(32), nullable=False),
    # the engine that it has loaded; empty where it has none (yet)
    Column("engine", String(64), nullable=False),
    Column("engine_version", String(64), nullable=False),
    Column("seen_at", Float, nullable=False),
    # believed to be there until then
    Column("until", Float, nullable=False),
)

# A table of its own, beside "results": a report keeps its predecessor whichever generation it was read in
REVISIONS = Table(
    "revisions",
    METADATA,
    Column("sop_instance_uid", _UID, primary_key=True),
    Column("predecessor_uid", _UID, nullable=False),
)

RETRACTIONS = Table(
    "retractions",
    METADATA,
    Column("series_key", _KEY, ForeignKey("series.series_key"), primary_key=True),
    Column("generation", Integer, primary_key=True),
    Column("reason", String(32), nullable=False),
    Column("retracted_at", Float, nullable=False),
    # when the last destination took the rejection note
    Column("sent_at", Float),
)

REJECTIONS = Table(
    "rejections",
    METADATA,
    Column("series_key", _KEY, ForeignKey("series.series_key"), primary_key=True),
    Column("generation", Integer, primary_key=True),
    Column("destination", _DESTINATION, primary_key=True),
    Column("sent_at", Float, nullable=False),
)

# The tombstone of a series whose files retention removed; its other rows stay
REMOVALS = Table(
    "removals",
    METADATA,
    Column("series_key", _KEY, ForeignKey("series.series_key"), primary_key=True),
    # instances and results up to this one
    Column("generation", Integer, nullable=False),
    Column("began_at", Float, nullable=False),
    # when the files were gone
    Column("ended_at", Float),
)

COMMITMENTS = Table(
    "commitments",
    METADATA,
    Column("transaction_uid", _UID, primary_key=True),
    Column("series_key", _KEY, ForeignKey("series.series_key"), nullable=False),
    Column("generation", Integer, nullable=False),
    Column("destination", _DESTINATION, nullable=False),
    Column("requested_at", Float, nullable=False),
    Column("answered_at", Float),
    Column("refused", Integer),
)

EVENTS = Table(
    "events",
    METADATA,
    Column("event_id", Integer, primary_key=True, autoincrement=True),
    Column("series_key", _KEY, ForeignKey("series.series_key"), nullable=False, index=True),
    Column("generation", Integer, nullable=False),
    Column("at", Float, nullable=False),
    Column("stage", String(32), nullable=False),
    Column("duration_s", Float),
    Column("reason", String(32), nullable=False),
)

# The end of each host's audit log, kept apart from it: lines that are cut off at its end are missed by this
AUDIT_HEADS = Table(
    "audit_heads",
    METADATA,
    Column("host", String(255), primary_key=True),
    Column("seq", BigInteger, nullable=False),
    Column("digest", String(64), nullable=False),
    Column("at", Float, nullable=False),
)
