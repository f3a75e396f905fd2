# The main job's set-up as an operator keeps it. Endpoint and keys come from the
# environment.
terraform {
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = "~> 5.100"
    }
  }
}

provider "aws" {}

data "aws_caller_identity" "me" {}

data "aws_iot_endpoint" "credentials" {
  endpoint_type = "iot:CredentialProvider"
}

resource "aws_iot_thing" "camera" {
  name       = "tf-camera"
  attributes = { site = var.site }
}

resource "aws_iot_thing_group" "fleet" {
  name = "tf-fleet"
}

resource "aws_iot_thing_group" "cameras" {
  name              = "tf-cameras"
  parent_group_name = aws_iot_thing_group.fleet.name
  properties {
    description = var.site
    attribute_payload {
      attributes = { site = var.site }
    }
  }
  tags = { team = "blue" }
}

resource "aws_iot_thing_group_membership" "camera" {
  thing_name       = aws_iot_thing.camera.name
  thing_group_name = aws_iot_thing_group.cameras.name
}

resource "aws_iot_policy_attachment" "fleet" {
  policy = aws_iot_policy.upload.name
  target = aws_iot_thing_group.fleet.arn
}

resource "aws_iot_indexing_configuration" "things" {
  thing_indexing_configuration {
    thing_indexing_mode              = "REGISTRY"
    thing_connectivity_indexing_mode = "STATUS"
    custom_field {
      name = "attributes.site"
      type = "String"
    }
  }
}

resource "aws_iot_event_configurations" "registry" {
  event_configurations = {
    "THING"                  = true
    "THING_GROUP"            = true
    "THING_TYPE"             = false
    "THING_GROUP_MEMBERSHIP" = true
    "THING_GROUP_HIERARCHY"  = false
    "THING_TYPE_ASSOCIATION" = false
    "JOB"                    = false
    "JOB_EXECUTION"          = false
    "POLICY"                 = false
    "CERTIFICATE"            = false
    "CA_CERTIFICATE"         = false
  }
}

variable "site" {
  default = "osaka"
}

resource "aws_iot_certificate" "camera" {
  active = var.site == "osaka"
}

resource "aws_iot_thing_principal_attachment" "camera" {
  thing     = aws_iot_thing.camera.name
  principal = aws_iot_certificate.camera.arn
}

resource "aws_iam_role" "upload" {
  name                 = "tf-upload"
  description          = "uploads from ${var.site}"
  max_session_duration = var.site == "osaka" ? 3600 : 7200
  permissions_boundary = var.site == "osaka" ? null : aws_iam_policy.boundary.arn
  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Action    = "sts:AssumeRole"
      Principal = { Service = "credentials.iot.amazonaws.com" }
    }]
  })
  tags = { team = "blue", site = var.site }
}

resource "aws_iam_policy" "boundary" {
  name = "tf-boundary"
  path = "/limits/"
  policy = jsonencode({
    Version   = "2012-10-17"
    Statement = [{ Effect = "Allow", Action = "s3:*", Resource = "*" }]
  })
}

resource "aws_iam_role_policy" "list" {
  name = "list"
  role = aws_iam_role.upload.id
  policy = jsonencode({
    Version   = "2012-10-17"
    Statement = [{ Effect = "Allow", Action = "s3:ListBucket", Resource = aws_s3_bucket.files.arn }]
  })
}

resource "aws_s3_bucket" "files" {
  bucket        = "tf-files"
  force_destroy = true
}

resource "aws_s3_bucket_policy" "files" {
  bucket = aws_s3_bucket.files.id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Sid       = "only ${var.site}"
      Effect    = "Deny"
      Principal = "*"
      Action    = "s3:PutObject"
      Resource  = "${aws_s3_bucket.files.arn}/elsewhere/*"
    }]
  })
}

resource "aws_s3_object" "readme" {
  bucket  = aws_s3_bucket.files.id
  key     = "README"
  content = "files of ${var.site}"
}

resource "aws_iam_user" "operator" {
  name = "tf-operator"
  tags = { site = var.site }
}

resource "aws_iam_user_policy_attachment" "operator" {
  user       = aws_iam_user.operator.name
  policy_arn = "arn:aws:iam::aws:policy/AWSIoTFullAccess"
}

resource "aws_iam_access_key" "operator" {
  user   = aws_iam_user.operator.name
  status = var.site == "osaka" ? "Active" : "Inactive"
}

resource "aws_iam_policy" "upload" {
  name = "tf-upload"
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect   = "Allow"
      Action   = ["s3:PutObject"]
      Resource = "arn:aws:s3:::tf-${var.site}/$${credentials-iot:ThingName}/*"
    }]
  })
}

resource "aws_iam_role_policy_attachment" "upload" {
  role       = aws_iam_role.upload.name
  policy_arn = aws_iam_policy.upload.arn
}

resource "aws_iot_role_alias" "upload" {
  alias               = "tf-upload"
  role_arn            = aws_iam_role.upload.arn
  credential_duration = var.site == "osaka" ? 3600 : 7200
  tags                = { site = var.site }
}

resource "aws_iot_policy" "upload" {
  name = "tf-upload"
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect   = "Allow"
      Action   = "iot:AssumeRoleWithCertificate"
      Resource = aws_iot_role_alias.upload.arn
    }]
  })
}

resource "aws_iot_policy_attachment" "upload" {
  policy = aws_iot_policy.upload.name
  target = aws_iot_certificate.camera.arn
}

output "endpoint" {
  value = data.aws_iot_endpoint.credentials.endpoint_address
}

output "account" {
  value = data.aws_caller_identity.me.account_id
}
