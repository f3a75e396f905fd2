package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"

	"github.com/sekisho-iot/sekisho/internal/awsapi"
)

// request is what authentication leaves for the rest of the pipeline.
type request struct {
	signature *awsapi.Signature // nil: unsigned
	payload   awsapi.Payload
	body      []byte // read whole already, but for S3
}

// dispatch runs the row of a request whose signature, if any, is good.
func (h *Handler) dispatch(ctx context.Context, c *Call, q request) error {
	binding, row, params, err := h.route(c.service, c.HTTP, q.body)
	if err != nil {
		return err
	}
	open := false
	if binding != nil {
		c.Operation = binding.Name
		open = binding.NoAuth
	} else {
		c.Operation = row.Name
	}
	ctx = h.beginSpan(ctx, c)
	if q.signature == nil && !open && c.Service != "s3" {
		return missingAuthentication(c.service.Protocol)
	}
	if row == nil {
		return notBuilt(c.service, binding.Name)
	}
	if q.signature == nil && !open && !row.Anonymous {
		return missingAuthentication(c.service.Protocol)
	}
	stream := row.Stream || binding != nil && binding.StreamsInput()
	if c.Service == "s3" && q.signature == nil && !stream && c.HTTP.ContentLength != 0 {
		if err := h.admitAnonymous(ctx, c, params); err != nil {
			return err
		}
	}
	if c.Service == "s3" {
		if c.Body, err = awsapi.NewBodyReader(c.HTTP, q.signature, q.payload); err != nil {
			return err
		}
		if !stream {
			if q.body, err = readDecoded(c.Body, binding.MaxBody()); err != nil {
				return err
			}
			if err := checkDocument(c.HTTP.Header, binding.Name, c.Body, q.body); err != nil {
				return err
			}
			c.Body = nil
		}
	}
	in := row.newInput()
	if err := decode(c, binding, params, q.body, in); err != nil {
		return err
	}
	return h.run(ctx, c, binding, row, in)
}

// admitAnonymous refuses a stranger to whom no policy of the bucket can have
// opened anything, before a document of theirs is read.
func (h *Handler) admitAnonymous(ctx context.Context, c *Call, params awsapi.PathParams) error {
	bucket, _ := params.Get("Bucket")
	resource := s3BucketARN(&bucket)
	if key, ok := params.Get("Key"); ok {
		resource = s3ObjectARN(&bucket, &key)
	}
	p, err := c.service.ResourcePolicy(ctx, resource)
	if err != nil || p != nil {
		return err
	}
	c.keys.init(c)
	return c.Authorize(ctx, "s3:"+c.Operation, resource, nil)
}

func decode(c *Call, binding *awsapi.Binding, params awsapi.PathParams, body []byte, in any) error {
	if binding == nil {
		return decodePlain(body, in)
	}
	if err := binding.Decode(c.HTTP, body, params, in); err != nil {
		return err
	}
	if c.Body != nil && binding.StreamsInput() {
		return binding.Body(in, c.Body)
	}
	return nil
}

// run authorises the call, makes it and writes its answer.
func (h *Handler) run(ctx context.Context, c *Call, binding *awsapi.Binding, row *Operation, in any) error {
	c.keys.init(c)
	if err := admitSession(c); err != nil {
		return err
	}
	if err := c.authorize(ctx, row, in); err != nil {
		return err
	}
	if c.Service != ownService && adds(row.Name) {
		if err := h.room(); err != nil {
			return err
		}
	}
	if c.Service == "s3" { // for answers that the handler writes itself
		c.Writer.Header().Set("X-Amz-Request-Id", c.RequestID)
	}
	out, err := row.Handle(ctx, c, in)
	if err != nil {
		return err
	}
	answer := c.Writer.(*answerWriter) //nolint:forcetypeassert // set by ServeHTTP
	if answer.status != 0 {
		return nil
	}
	if out == nil {
		out = row.newOutput()
	}
	if binding == nil {
		return encodePlain(c, out)
	}
	if err := binding.Encode(answer, out, c.RequestID); err != nil && (answer.status == 0 || !gone(ctx)) {
		return err
	}
	return nil
}

// readDecoded reads an S3 document of at most limit bytes to its proven end.
func readDecoded(b *awsapi.BodyReader, limit int64) ([]byte, error) {
	if b.Size() > limit {
		return nil, tooLarge(limit)
	}
	body, err := io.ReadAll(io.LimitReader(b, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(body)) > limit {
		return nil, tooLarge(limit)
	}
	return body, nil
}

// decodePlain reads the JSON input of a row without a model.
func decodePlain(body []byte, in any) error {
	if len(body) == 0 {
		return nil
	}
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	err := d.Decode(in)
	if err == nil {
		if _, err = d.Token(); errors.Is(err, io.EOF) {
			return nil
		}
	}
	return &awsapi.DecodeError{Fault: awsapi.FaultSyntax, Message: "The request body is not the JSON that this operation takes"}
}

func encodePlain(c *Call, out any) error {
	body, err := json.Marshal(out)
	if err != nil {
		return err
	}
	header := c.Writer.Header()
	header.Set("Content-Type", "application/json")
	header.Set("X-Amzn-Requestid", c.RequestID)
	c.Writer.WriteHeader(http.StatusOK)
	_, _ = c.Writer.Write(append(body, '\n')) // an error is the client's: it has gone
	return nil
}
