# Document 000's upload_file.py as Terraform's templatefile gets it: ${...} is
# filled in, and /home/ec2-user is another folder.
import time
import json
from AWSIoTPythonSDK.MQTTLib import AWSIoTMQTTClient
import boto3
import json
import http.client
import ssl
import sys
import os
import base64

iot_endpoint = "${iot_endpoint}"
iot_cred_endpoint = "${iot_cred_endpoint}"

target_bucket_name = "${target_bucket_name}"

myMQTTClient = AWSIoTMQTTClient("example-thing")
myMQTTClient.configureEndpoint(iot_endpoint, 8883)

myMQTTClient.configureCredentials(
    "/home/ec2-user/root-ca.pem",
    "/home/ec2-user/private.key",
    "/home/ec2-user/certificate.pem"
)

myMQTTClient.connect()

SIZE_THRESHOLD = 51200


def get_file_size(file_path):
    return os.path.getsize(file_path)


def upload_s3(file_path):
    file_size = get_file_size(file_path)

    if file_size > SIZE_THRESHOLD:
        context = ssl.SSLContext(ssl.PROTOCOL_SSLv23)
        context.load_cert_chain("/home/ec2-user/certificate.pem", "/home/ec2-user/private.key")
        context.load_verify_locations("/home/ec2-user/root-ca.pem")
        context.verify_mode = ssl.CERT_REQUIRED
        context.check_hostname = True

        headers = {
            "x-amzn-iot-thingname": "example-thing"
        }

        conn = http.client.HTTPSConnection(iot_cred_endpoint, port=443, context=context)
        conn.request("GET", "/role-aliases/${role_alias}/credentials", headers=headers)
        response = conn.getresponse()
        credential_data = json.loads(response.read())

        s3 = boto3.client("s3",aws_access_key_id=credential_data['credentials']['accessKeyId'],
                          aws_secret_access_key=credential_data['credentials']['secretAccessKey'],
                          aws_session_token=credential_data['credentials']['sessionToken'])

        file_name = os.path.basename(file_path)
        s3.upload_file(file_path, target_bucket_name, file_name)

        s3_url = f"https://{target_bucket_name}.s3.amazonaws.com/{file_name}"
        message = {"type": "s3_url", "url": s3_url}
        myMQTTClient.publish("file/upload", json.dumps(message), 1)
        print("Successfully sent file directly to S3")
    else:
        with open(file_path, "rb") as file:
            file_content = file.read()
            file_content_base64 = base64.b64encode(file_content).decode('ascii')
            message = {
                "type": "file_content",
                "content": file_content_base64
            }
            myMQTTClient.publish("file/upload", json.dumps(message), 1)
        print("Successfully sent file directly via MQTT")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        print("Usage: python script.py <file_name>")
        sys.exit(1)

    file_name = sys.argv[1]
    file_path = os.path.join(os.getcwd(), file_name)

    if not os.path.exists(file_path):
        print(f"Error: File '{file_name}' does not exist in the current directory.")
        sys.exit(1)

    upload_s3(file_path)
