#!/usr/bin/env bash
# Document 001 from its first command to the uploaded file, as it is written
# there. The environment is that of `sekisho env`, and --cacert names our root
# CA. Left behind in the working folder: credentials.json and the key files.
set -euo pipefail

cat > trust-policy.json << 'END'
{
  "Version": "2012-10-17",
  "Statement": [
    {
      "Effect": "Allow",
      "Principal": {
        "Service": "credentials.iot.amazonaws.com"
      },
      "Action": "sts:AssumeRole"
    }
  ]
}
END

aws iam create-role \
--role-name s3_role \
--assume-role-policy-document file://trust-policy.json

aws iam get-role --role-name s3_role

cat > s3-access-policy.json << 'END'
{
  "Version": "2012-10-17",
  "Statement": [
    {
      "Effect": "Allow",
      "Action": [
        "s3:PutObject"
      ],
      "Resource": "*"
    }
  ]
}
END

export S3_POLICY_ARN=$(aws iam create-policy \
--policy-name s3_access_policy \
--policy-document file://s3-access-policy.json \
--query Policy.Arn \
--output text)

aws iam attach-role-policy \
--role-name s3_role \
--policy-arn $S3_POLICY_ARN

aws iam list-attached-role-policies --role-name s3_role

export S3_ROLE_ARN=$(aws iam list-roles --query "Roles[?RoleName=='s3_role'].Arn" --output text)

aws iot create-role-alias \
--role-alias s3_role_alias \
--role-arn $S3_ROLE_ARN
export S3_ROLE_ALIAS_ARN=$(aws iot describe-role-alias \
--role-alias s3_role_alias \
--query roleAliasDescription.roleAliasArn \
--output text)
echo $S3_ROLE_ALIAS_ARN

cat << END > iot-policy.json
{
  "Version": "2012-10-17",
  "Statement": {
    "Effect": "Allow",
    "Action": "iot:AssumeRoleWithCertificate",
    "Resource": "$S3_ROLE_ALIAS_ARN"
  }
}
END

aws iot create-policy \
--policy-name iot_policy \
--policy-document file://iot-policy.json

aws iot create-thing --thing-name thing_x

export CERTIFICATE_ARN=$(aws iot create-keys-and-certificate \
    --set-as-active \
    --certificate-pem-outfile "./device.pem.crt" \
    --public-key-outfile "./public.pem.key" \
    --private-key-outfile "./private.pem.key" \
    --query "certificateArn" --output text)

aws iot attach-thing-principal --thing-name thing_x --principal $CERTIFICATE_ARN
aws iot attach-policy --target $CERTIFICATE_ARN --policy iot_policy

export ENDPOINT_NAME=$(aws iot describe-endpoint \
--endpoint-type iot:CredentialProvider \
--query endpointAddress \
--output text)

echo $ENDPOINT_NAME

curl --silent --show-error --cert device.pem.crt \
--key private.pem.key \
-H "x-amzn-iot-thingname: thing_x" \
--cacert "$SEKISHO_ROOT_CA" \
https://$ENDPOINT_NAME/role-aliases/s3_role_alias/credentials > credentials.json

# The document's bucket exists already; the administrator makes it here.
aws s3 mb s3://2heozhb6

# Not in the document: the same upload by the CLI, with the three values in the
# environment.
value() { sed -n "s/.*\"$1\":\"\([^\"]*\)\".*/\1/p" credentials.json; }
head -c 20971520 /dev/urandom > file_y
AWS_ACCESS_KEY_ID=$(value accessKeyId) \
AWS_SECRET_ACCESS_KEY=$(value secretAccessKey) \
AWS_SESSION_TOKEN=$(value sessionToken) \
aws s3 cp --no-progress file_y s3://2heozhb6/file_y_by_cli
