-- The database of a server with the first schema, after the main job: pump-1 has
-- uploaded, pump-2 is revoked. Made by sqlite3 .dump; not to be changed.
BEGIN TRANSACTION;
CREATE TABLE certificate_tombstones (
    id            text   PRIMARY KEY,
    epoch         bigint NOT NULL,
    issuer_serial text   NOT NULL,
    public_key    text   NOT NULL,
    reason        text   NOT NULL,
    buried_ms     bigint NOT NULL
);
INSERT INTO "certificate_tombstones" VALUES('4653466e5853657f9c17aed062dbfe57236e0058232dd71850ceaadb89cdf17c',2,'47a45ee3d49e2b62b9ac5aa1c6eedae01fc6b0e96432bedf0869cb62d84442f7','bb990b461c531c8b64598b00f0004cf92e7b3dc8e73d6cdacdf4ca97f4227994','revoked',1795882482583);
INSERT INTO "certificate_tombstones" VALUES('409b147be5b9ec734d907a46c4f5ab8613e99f498208fd059b87bed8b6b74e92',1,'89382848b99bd03c669a66e86fe583e1a679cdae435456debfd4deb75d70c2ca','0fc5e3ce49962c3634d6ffcfa9bc0e69fcfdbcfcd71ee87cedb77f7004b3061d','deleted',1795882482586);
CREATE TABLE certificates (
    id               text   PRIMARY KEY,
    der              bytea  NOT NULL,
    status           text   NOT NULL,
    epoch            bigint NOT NULL,
    mode             text   NOT NULL,
    ca_id            text   NOT NULL,
    owner            text   NOT NULL,
    generation_id    text   NOT NULL,
    customer_version bigint NOT NULL,
    created_ms       bigint NOT NULL,
    updated_ms       bigint NOT NULL,
    not_before_ms    bigint NOT NULL,
    not_after_ms     bigint NOT NULL,
    issuer_serial    text   NOT NULL,
    public_key       text   NOT NULL
);
INSERT INTO "certificates" VALUES('477f93da6df230306128272b379c0d59450cfe7f5f6e15183cfb6d250aa276ac',X'3082026F30820216A0030201020214728A1196EE1CB4B743AFA920D90CEB329315AE7A300A06082A8648CE3D040302302F3110300E060355040A130753656B6973686F311B30190603550403131253656B6973686F2044657669636573204341301E170D3236313132383135313434325A170D3439313233313233353935395A301E311C301A0603550403131341575320496F5420436572746966696361746530820122300D06092A864886F70D01010105000382010F003082010A0282010100DAAEB3E83EE78F3185E9CF5C5369888B051039DCF3F08059F78D41F5C86113A76994504F373A105D8440A8DF15EF9F6EB56115062508963EEF181CFE5B5360BBADA3988AACB7564441ED6574A79CBA7BFB00715E853B069F7CA9B95F796F7A698CDDB03919584C72E5040B2DAD046DA4A92518EE7A369DC6318C44D266FBCE9B6310761D78345BB25503DAC72DC04D9BAFD4725EAA47BCCE9BC959ECFE84CFCE0E823BEFF1D069EC6A8DD7D45F25487C5F3B2BB70D7BDA9E5D7408B5D4A879C1C0FDDCD983890CFD4ED83DF54E8A873557B86267942354F5D8152990009884780E05E308419547E194165D350B75D713A67F72EC4297E9438222A72640CFA4EB0203010001A3563054300E0603551D0F0101FF04040302078030130603551D25040C300A06082B06010505070302300C0603551D130101FF04023000301F0603551D23041830168014A64616027066C08BD5D25E3491936911FB10EE12300A06082A8648CE3D04030203470030440220190DE26278B73B56AC9B23C6558AFCF281A2241FC9C0F0E23809FF66F3D08511022002F6B4B223EB4F1D6C3C1671F5B5DB17C3C8801583F68D38B02070224D942810','ACTIVE',1,'DEFAULT','','000000000000','d0974ecf-df58-44f1-9135-3efd16abfe58',1,1795882482447,1795882482447,1795878882000,2524607999000,'354565e945fc9a3dc84b9b312da6759082ad25fcc212da39dfb9db1429f47098','dcc5ebf4358bfd7aa37184cad3ff405699bf1b9b4be5e274a696d3b6920da568');
INSERT INTO "certificates" VALUES('4653466e5853657f9c17aed062dbfe57236e0058232dd71850ceaadb89cdf17c',X'3082027030820216A00302010202144FBD15FFA84E179C568736D8F53DD6895685EBDA300A06082A8648CE3D040302302F3110300E060355040A130753656B6973686F311B30190603550403131253656B6973686F2044657669636573204341301E170D3236313132383135313434325A170D3439313233313233353935395A301E311C301A0603550403131341575320496F5420436572746966696361746530820122300D06092A864886F70D01010105000382010F003082010A0282010100A6D9F7D129759DEB58DF9BCE79480913AB8554CAF74052B3A60F0438C0FC04E21277B4861358A574ED04A2CFA8103CCE97D24EC1CF3AAD3F8CA03FE16CA43767B392FD34A30650A878D5B57A570F1BAA41638596D58018C0F21E3181DE66B3A81F49604B493C606189D3EFFE38D9BC2A0A4883F89FC9A713988AB4D3BFC56C6079C4590274C0AD5706238603718837B64F498C61D138255C1B0B6478D0E757CD5F3DA298ACEAEA7FC8EBEB385C320051F49CCA58C279FF994F24F8386A9EECBD640C4D78C03E636CDEDB54ECCFA6C0437D89B378A05FAF11B32AA18476E2D414ACEF761212E4C6372B88BB3ED5DB34806E1FB1B1D99BAA230E8A8F5FBDCDE2C30203010001A3563054300E0603551D0F0101FF04040302078030130603551D25040C300A06082B06010505070302300C0603551D130101FF04023000301F0603551D23041830168014A64616027066C08BD5D25E3491936911FB10EE12300A06082A8648CE3D0403020348003045022060744DB182464CF22081239BFB7FC283312858173978FF70EE062616DDEDC8C8022100FDD5D3E653ACB3123F682AB7E16AB0E5B583EFD6E263C9A2B0D18F9D041FBBF2','REVOKED',2,'DEFAULT','','000000000000','018692b6-0352-4081-9d1e-96b96678bdae',2,1795882482472,1795882482583,1795878882000,2524607999000,'47a45ee3d49e2b62b9ac5aa1c6eedae01fc6b0e96432bedf0869cb62d84442f7','bb990b461c531c8b64598b00f0004cf92e7b3dc8e73d6cdacdf4ca97f4227994');
CREATE TABLE iam_access_keys (
    id         text   PRIMARY KEY,
    user_id    text   NOT NULL,
    active     bigint NOT NULL,
    sealed     bytea  NOT NULL,
    created_ms bigint NOT NULL
, epoch bigint NOT NULL DEFAULT 1);
INSERT INTO "iam_access_keys" VALUES('AKIA73LPRRYZJZ7HJJ24','',1,X'010000000130F6DBBEC675D59FEC44B4A685A8E6C7AC9E03ADC7169ECD4A44E52B1964847A789D9150BC243E0434051636324962D9F6E8DDFF60A349162919888C79BB8EE90BAC731CB70F6CD4B09500E9C4E6394B',1795882476000,1);
INSERT INTO "iam_access_keys" VALUES('AKIALI2OGXW4EQLSQZJA','AIDAHJTA5T3B4VBSG43VI',0,X'0100000001507AF14176AAC89D2B55F1A11015BCCB5E0485C4C686AD1B950D19ADBFE4C5A836471DEFC92569A246B4B8E70A8999BC69CDAB4972FCFA9A6A38C8BCEE327E4FFB89A81CE0E8DAB140FC104EDAF64A70',1795882482000,2);
CREATE TABLE iam_attachments (
    holder_id   text   NOT NULL,
    policy_arn  text   NOT NULL,
    attached_ms bigint NOT NULL,
    PRIMARY KEY (holder_id, policy_arn)
);
INSERT INTO "iam_attachments" VALUES('AROATSNYSMIH3D3AFMZPO','arn:aws:iam::000000000000:policy/upload',1795882482000);
CREATE TABLE iam_inline_policies (
    holder_id text NOT NULL,
    name      text NOT NULL,
    document  text NOT NULL,
    PRIMARY KEY (holder_id, name)
);
INSERT INTO "iam_inline_policies" VALUES('AROATSNYSMIH3D3AFMZPO','inline','{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": ["s3:PutObject", "s3:AbortMultipartUpload"], "Resource": "arn:aws:s3:::fleet/${credentials-iot:ThingName}/*"}]}');
CREATE TABLE iam_policies (
    id              text   PRIMARY KEY,
    arn             text   NOT NULL UNIQUE,
    name            text   NOT NULL,
    name_lower      text   NOT NULL UNIQUE,
    path            text   NOT NULL,
    description     text   NOT NULL,
    default_version bigint NOT NULL,
    last_version    bigint NOT NULL, -- numbers are never used again
    created_ms      bigint NOT NULL,
    updated_ms      bigint NOT NULL
);
INSERT INTO "iam_policies" VALUES('ANPAKALDTC6YINSXGYB4S','arn:aws:iam::000000000000:policy/upload','upload','upload','/','',2,2,1795882482000,1795882482000);
CREATE TABLE iam_policy_versions (
    policy_id  text   NOT NULL REFERENCES iam_policies (id) ON DELETE CASCADE,
    version    bigint NOT NULL,
    document   text   NOT NULL,
    created_ms bigint NOT NULL,
    PRIMARY KEY (policy_id, version)
);
INSERT INTO "iam_policy_versions" VALUES('ANPAKALDTC6YINSXGYB4S',1,'{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": ["s3:PutObject", "s3:AbortMultipartUpload"], "Resource": "arn:aws:s3:::fleet/${credentials-iot:ThingName}/*"}]}',1795882482000);
INSERT INTO "iam_policy_versions" VALUES('ANPAKALDTC6YINSXGYB4S',2,'{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": ["s3:PutObject", "s3:AbortMultipartUpload"], "Resource": "arn:aws:s3:::fleet/${credentials-iot:ThingName}/*"}]}',1795882482000);
CREATE TABLE iam_roles (
    id          text   PRIMARY KEY,
    name        text   NOT NULL UNIQUE,
    name_lower  text   NOT NULL UNIQUE,
    path        text   NOT NULL,
    arn         text   NOT NULL,
    description text   NOT NULL,
    max_session bigint NOT NULL, -- seconds
    trust       text   NOT NULL,
    boundary    text   NOT NULL, -- ARN, or empty
    created_ms  bigint NOT NULL
);
INSERT INTO "iam_roles" VALUES('AROATSNYSMIH3D3AFMZPO','Uploader','uploader','/fleet/','arn:aws:iam::000000000000:role/fleet/Uploader','for devices',3600,'{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": {"Service": "credentials.iot.amazonaws.com"}, "Action": "sts:AssumeRole"}]}','',1795882482000);
CREATE TABLE iam_tags (
    owner_id   text NOT NULL,
    name_lower text NOT NULL,
    name       text NOT NULL,
    value      text NOT NULL,
    PRIMARY KEY (owner_id, name_lower)
);
INSERT INTO "iam_tags" VALUES('AROATSNYSMIH3D3AFMZPO','team','Team','water');
CREATE TABLE iam_users (
    id         text   PRIMARY KEY,
    name       text   NOT NULL UNIQUE,
    name_lower text   NOT NULL UNIQUE,
    path       text   NOT NULL,
    arn        text   NOT NULL,
    boundary   text   NOT NULL,
    created_ms bigint NOT NULL
);
INSERT INTO "iam_users" VALUES('AIDAHJTA5T3B4VBSG43VI','Ann','ann','/','arn:aws:iam::000000000000:user/Ann','',1795882482000);
CREATE TABLE iot_policies (
    name            text   PRIMARY KEY,
    generation_id   text   NOT NULL,
    default_version bigint NOT NULL,
    last_version    bigint NOT NULL,
    created_ms      bigint NOT NULL,
    updated_ms      bigint NOT NULL
);
INSERT INTO "iot_policies" VALUES('devices','dc7cb9aa-a620-42a1-9602-c7d0998b63dc',1,2,1795882482549,1795882482568);
CREATE TABLE iot_policy_targets (
    policy_name text   NOT NULL REFERENCES iot_policies (name),
    target      text   NOT NULL,
    attached_ms bigint NOT NULL,
    PRIMARY KEY (policy_name, target)
);
INSERT INTO "iot_policy_targets" VALUES('devices','arn:aws:iot:us-east-1:000000000000:cert/477f93da6df230306128272b379c0d59450cfe7f5f6e15183cfb6d250aa276ac',1795882482571);
INSERT INTO "iot_policy_targets" VALUES('devices','arn:aws:iot:us-east-1:000000000000:cert/4653466e5853657f9c17aed062dbfe57236e0058232dd71850ceaadb89cdf17c',1795882482575);
CREATE TABLE iot_policy_versions (
    policy_name text   NOT NULL REFERENCES iot_policies (name) ON DELETE CASCADE,
    version     bigint NOT NULL,
    document    text   NOT NULL,
    created_ms  bigint NOT NULL,
    PRIMARY KEY (policy_name, version)
);
INSERT INTO "iot_policy_versions" VALUES('devices',1,'{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "iot:*", "Resource": "*"}]}',1795882482549);
INSERT INTO "iot_policy_versions" VALUES('devices',2,'{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "iot:Connect", "Resource": "*"}]}',1795882482568);
CREATE TABLE iot_tags (
    resource text NOT NULL,
    name     text NOT NULL,
    value    text NOT NULL,
    PRIMARY KEY (resource, name)
);
INSERT INTO "iot_tags" VALUES('policy/devices','team','water');
INSERT INTO "iot_tags" VALUES('rolealias/uploader','a','b');
CREATE TABLE role_aliases (
    name       text   PRIMARY KEY,
    role_arn   text   NOT NULL,
    duration   bigint NOT NULL, -- seconds
    created_ms bigint NOT NULL,
    updated_ms bigint NOT NULL
);
INSERT INTO "role_aliases" VALUES('uploader','arn:aws:iam::000000000000:role/fleet/Uploader',1800,1795882482618,1795882482618);
CREATE TABLE s3_buckets (
    name    text   PRIMARY KEY,
    id      bigint NOT NULL UNIQUE,
    created bigint NOT NULL, -- unix milliseconds
    policy  bytea
);
INSERT INTO "s3_buckets" VALUES('fleet',4133208589722886375,1795882482620,X'7B2256657273696F6E223A2022323031322D31302D3137222C202253746174656D656E74223A205B7B22456666656374223A202244656E79222C20225072696E636970616C223A20222A222C2022416374696F6E223A202273333A44656C6574654275636B6574222C20225265736F75726365223A202261726E3A6177733A73333A3A3A666C656574227D5D7D');
CREATE TABLE s3_garbage (
    id    bytea  PRIMARY KEY,
    parts bigint NOT NULL -- 1: all parts of this upload; 0: this data file
);
CREATE TABLE s3_generation (
    id      bigint PRIMARY KEY CHECK (id = 1),
    current bigint NOT NULL,
    unswept bigint NOT NULL
);
INSERT INTO "s3_generation" VALUES(1,1,1);
CREATE TABLE s3_inline (
    version bytea PRIMARY KEY,
    data    bytea NOT NULL
);
INSERT INTO "s3_inline" VALUES(X'00000001000000000131DB27C2F28D92',X'736D616C6C');
CREATE TABLE s3_objects (
    bucket   bigint NOT NULL,
    key      bytea  NOT NULL,
    version  bytea  NOT NULL,
    size     bigint NOT NULL,
    etag     text   NOT NULL,
    modified bigint NOT NULL, -- unix milliseconds
    layout   bigint NOT NULL,
    checksum text   NOT NULL,
    headers  bytea  NOT NULL,
    PRIMARY KEY (bucket, key)
);
INSERT INTO "s3_objects" VALUES(4133208589722886375,X'70756D702D312F736D616C6C20C3A42E747874',X'00000001000000000131DB27C2F28D92',5,'eb5c1399a871211c7e7ed732d15e3a8b',1795882482685,-1,'CRC32:FULL_OBJECT:dUXqEw==',X'7B2274223A22746578742F706C61696E222C226D223A7B226B223A2276227D7D');
INSERT INTO "s3_objects" VALUES(4133208589722886375,X'70756D702D312F66696C652E62696E',X'0000000100000000038DD91E5713FCC6',200001,'07fa4156dca504a07dfc075c0e906137',1795882482697,0,'CRC32:FULL_OBJECT:hImb7A==',X'7B7D');
INSERT INTO "s3_objects" VALUES(4133208589722886375,X'70756D702D312F6C617267652E62696E',X'000000010000000004A71E46B74B9CDD',5243880,'74ba155306787191cfd2faca195c6e64-2',1795882482761,2,'',X'7B7D');
CREATE TABLE s3_parts (
    upload   bytea  NOT NULL,
    number   bigint NOT NULL,
    blob     bytea  NOT NULL,
    size     bigint NOT NULL,
    etag     text   NOT NULL,
    modified bigint NOT NULL, -- unix milliseconds
    checksum text   NOT NULL,
    PRIMARY KEY (upload, number)
);
INSERT INTO "s3_parts" VALUES(X'000000010000000004A71E46B74B9CDD',1,X'000000010000000005828FECF2A3CF27',5242880,'f5c72844814e523517b0bcbc17eb638b',1795882482734,'CRC32:FULL_OBJECT:QhjSpg==');
INSERT INTO "s3_parts" VALUES(X'000000010000000004A71E46B74B9CDD',2,X'0000000100000000064947D4F651E553',1000,'93f8e2ed34e2c6727cf1ee6f138267e9',1795882482758,'CRC32:FULL_OBJECT:DJZmbg==');
INSERT INTO "s3_parts" VALUES(X'000000010000000007503F289A8ABBCF',1,X'000000010000000008F88E5EF5B3FC01',70000,'358bb2c374b8e12a5af8e82d47491a08',1795882482767,'CRC32:FULL_OBJECT:JKDbFg==');
CREATE TABLE s3_uploads (
    id                 bytea  PRIMARY KEY,
    bucket             bigint NOT NULL,
    key                bytea  NOT NULL,
    initiated          bigint NOT NULL, -- unix milliseconds
    revision           bigint NOT NULL,
    headers            bytea  NOT NULL,
    checksum_algorithm text   NOT NULL,
    checksum_type      text   NOT NULL
);
INSERT INTO "s3_uploads" VALUES(X'000000010000000007503F289A8ABBCF',4133208589722886375,X'70756D702D312F72756E6E696E672E62696E',1795882482763,1,X'7B7D','','');
CREATE TABLE schema_migrations (
		version bigint PRIMARY KEY, name text NOT NULL);
INSERT INTO "schema_migrations" VALUES(1,'migrations/0001_settings.sql');
INSERT INTO "schema_migrations" VALUES(2,'migrations/0002_registry.sql');
INSERT INTO "schema_migrations" VALUES(3,'migrations/0003_iam.sql');
INSERT INTO "schema_migrations" VALUES(4,'migrations/0004_s3.sql');
INSERT INTO "schema_migrations" VALUES(5,'migrations/0005_access_key_epoch.sql');
INSERT INTO "schema_migrations" VALUES(6,'migrations/0006_uploads.sql');
CREATE TABLE settings (
    name  text PRIMARY KEY,
    value text NOT NULL
);
INSERT INTO "settings" VALUES('region','us-east-1');
INSERT INTO "settings" VALUES('account-id','000000000000');
CREATE TABLE thing_attributes (
    thing_name text NOT NULL REFERENCES things (name) ON DELETE CASCADE,
    name       text NOT NULL,
    value      text NOT NULL,
    PRIMARY KEY (thing_name, name)
);
INSERT INTO "thing_attributes" VALUES('pump-1','site','north');
INSERT INTO "thing_attributes" VALUES('pump-1','line','3');
CREATE TABLE thing_principals (
    thing_name  text   NOT NULL REFERENCES things (name),
    principal   text   NOT NULL,
    incarnation bigint NOT NULL,
    type        text   NOT NULL,
    attached_ms bigint NOT NULL,
    PRIMARY KEY (thing_name, principal)
);
INSERT INTO "thing_principals" VALUES('pump-1','arn:aws:iot:us-east-1:000000000000:cert/477f93da6df230306128272b379c0d59450cfe7f5f6e15183cfb6d250aa276ac',5407487378446275215,'NON_EXCLUSIVE_THING',1795882482579);
INSERT INTO "thing_principals" VALUES('pump-2','arn:aws:iot:us-east-1:000000000000:cert/4653466e5853657f9c17aed062dbfe57236e0058232dd71850ceaadb89cdf17c',4380320647646711617,'NON_EXCLUSIVE_THING',1795882482581);
CREATE TABLE things (
    name       text   PRIMARY KEY,
    id         text   NOT NULL UNIQUE,
    type_name  text   NOT NULL,
    version    bigint NOT NULL,
    created_ms bigint NOT NULL,
    updated_ms bigint NOT NULL
);
INSERT INTO "things" VALUES('pump-1','7aa7cd1b-d9d4-40f8-9517-41f40f3633e1','',1,1795882482209,1795882482209);
INSERT INTO "things" VALUES('pump-2','bb98a245-2193-4d66-8838-3daadaa73b1e','',1,1795882482220,1795882482220);
CREATE TABLE upload_door (
    id         bigint PRIMARY KEY CHECK (id = 1),
    role_alias text   NOT NULL,
    bucket     text   NOT NULL
);
INSERT INTO "upload_door" VALUES(1,'uploader','fleet');
CREATE TABLE uploads (
    number      bigint PRIMARY KEY,
    thing       text   NOT NULL,
    certificate text   NOT NULL,
    door        text   NOT NULL, -- s3, inline, mqtt
    status      text   NOT NULL, -- completed, failed
    bucket      text   NOT NULL,
    key         bytea  NOT NULL, -- of the object
    topic       text   NOT NULL, -- of an inline message
    name        text   NOT NULL, -- of an inline message
    size        bigint NOT NULL,
    sha256      text   NOT NULL,
    checksum    text   NOT NULL,
    upload_id   text   NOT NULL,
    reason      text   NOT NULL,
    started_ms  bigint NOT NULL,
    finished_ms bigint NOT NULL
);
INSERT INTO "uploads" VALUES(1,'pump-1','477f93da6df230306128272b379c0d59450cfe7f5f6e15183cfb6d250aa276ac','s3','completed','fleet',X'70756D702D312F736D616C6C20C3A42E747874','','',5,'81db8ebbbbc69c6c6ad4a6aa92b76e0c08af547da236b9e2c9dbe1d8285a8130','CRC32:FULL_OBJECT:dUXqEw==','','',1795882482684,1795882482685);
INSERT INTO "uploads" VALUES(2,'pump-1','477f93da6df230306128272b379c0d59450cfe7f5f6e15183cfb6d250aa276ac','s3','completed','fleet',X'70756D702D312F66696C652E62696E','','',200000,'91e3faafd322bcdf160f3f0ce886acb092b9b9e2a1e8526b40f21a8898a8700b','CRC32:FULL_OBJECT:Ub8Ccg==','','',1795882482690,1795882482693);
INSERT INTO "uploads" VALUES(3,'pump-1','477f93da6df230306128272b379c0d59450cfe7f5f6e15183cfb6d250aa276ac','s3','completed','fleet',X'70756D702D312F66696C652E62696E','','',200001,'386c3e5484ba43f8564244a00f8e6a3839769a42e4f3a1b1c98248eaeaaf5873','CRC32:FULL_OBJECT:hImb7A==','','',1795882482695,1795882482697);
INSERT INTO "uploads" VALUES(4,'pump-1','477f93da6df230306128272b379c0d59450cfe7f5f6e15183cfb6d250aa276ac','s3','completed','fleet',X'70756D702D312F6C617267652E62696E','','',5243880,'','','','',1795882482700,1795882482761);
CREATE TABLE uploads_state (
    id        bigint PRIMARY KEY CHECK (id = 1),
    last      bigint NOT NULL,
    announced bigint NOT NULL
);
INSERT INTO "uploads_state" VALUES(1,4,4);
CREATE INDEX thing_attributes_by_value ON thing_attributes (name, value, thing_name);
CREATE INDEX certificates_by_creation ON certificates (created_ms, id);
CREATE INDEX certificate_tombstones_by_serial ON certificate_tombstones (issuer_serial);
CREATE INDEX certificate_tombstones_by_key ON certificate_tombstones (public_key);
CREATE INDEX thing_principals_by_principal ON thing_principals (principal, thing_name);
CREATE INDEX iot_policies_by_creation ON iot_policies (created_ms, name);
CREATE INDEX iot_policy_targets_by_target ON iot_policy_targets (target, policy_name);
CREATE INDEX iam_roles_by_boundary ON iam_roles (boundary);
CREATE INDEX iam_users_by_boundary ON iam_users (boundary);
CREATE INDEX iam_access_keys_by_user ON iam_access_keys (user_id, id);
CREATE INDEX iam_attachments_by_policy ON iam_attachments (policy_arn, holder_id);
CREATE UNIQUE INDEX s3_objects_version ON s3_objects (version);
CREATE UNIQUE INDEX s3_uploads_key ON s3_uploads (bucket, key, id);
CREATE INDEX s3_uploads_initiated ON s3_uploads (initiated);
CREATE UNIQUE INDEX s3_parts_blob ON s3_parts (blob);
CREATE INDEX uploads_by_thing ON uploads (thing, number);
CREATE INDEX uploads_by_finish ON uploads (finished_ms);
CREATE INDEX uploads_by_upload_id ON uploads (certificate, upload_id) WHERE upload_id <> '';
CREATE INDEX uploads_failed ON uploads (certificate, bucket, key) WHERE status = 'failed';
COMMIT;
