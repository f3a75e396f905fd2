# Document 001's program. The last two options of Aws.config are ours: Ruby's
# SDK of this age does not read AWS_ENDPOINT_URL.
require 'net/http'
require 'json'
require 'aws-sdk-s3'

ENDPOINT_URL = ENV["ENDPOINT_NAME"]
THING_NAME = "thing_x"
ROLE_ALIAS = "s3_role_alias"

uri = URI.parse("https://#{ENDPOINT_URL}/role-aliases/#{ROLE_ALIAS}/credentials")
http = Net::HTTP.new(uri.host, uri.port)
http.use_ssl = true
http.key = OpenSSL::PKey::RSA.new(File.read("private.pem.key"))
http.cert = OpenSSL::X509::Certificate.new(File.read("device.pem.crt"))
http.ca_file = 'AmazonRootCA1.pem'
http.verify_mode = OpenSSL::SSL::VERIFY_PEER

request = Net::HTTP::Get.new(uri.request_uri)
request["x-amzn-iot-thingname"] = THING_NAME

response = http.request(request)

if response.code.to_i != 200
    puts "Error: #{response.code} - #{response.message}"
    exit 1
end

credential_data = JSON.parse(response.body)

Aws.config.update({
    region: 'ap-northeast-1',
    credentials: Aws::Credentials.new(
        credential_data['credentials']['accessKeyId'],
        credential_data['credentials']['secretAccessKey'],
        credential_data['credentials']['sessionToken']
    ),
    **(ENV["S3_PATH_STYLE"] ? { s3: { force_path_style: true } } : {}),
    endpoint: ENV["S3_ENDPOINT_URL"],
    ssl_ca_bundle: 'AmazonRootCA1.pem'
})

s3 = Aws::S3::Resource.new
obj = s3.bucket('2heozhb6').object('file_y')
obj.upload_file('./file_y')
