package upload

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/sekisho-iot/sekisho/internal/agent/spool"
)

const (
	noticeTimeout = 30 * time.Second // for one try of a message
	progressEvery = 128 << 10        // bytes between two events
)

// transfer is one record on its way. One goroutine at a time works on it.
type transfer struct {
	a      *Agent
	record spool.Record
	source *source // kept between attempts

	failures      int
	refusals      int // by S3, of credentials that may be stale
	resumed       bool
	relisted      bool // the parts, after S3 did not know one
	changingSince time.Time
	progress      atomic.Bool // since the last failure

	sent   atomic.Int64 // bytes that the server has or is being sent
	shown  atomic.Int64
	target int64
}

// attempt does what is left to do, as far as it goes.
func (t *transfer) attempt(ctx context.Context) error {
	if t.record.State == spool.Pending {
		if err := t.send(ctx); err != nil {
			return err
		}
	}
	if t.record.State == spool.Stored {
		m, err := t.a.settings.urlMessage(&t.record)
		if err != nil {
			return err
		}
		if err := t.a.publish(ctx, t.a.settings.Topic, m); err != nil {
			return err
		}
		if err := t.noticed(); err != nil {
			return err
		}
	}
	if t.record.State == spool.Noticed {
		return t.remove()
	}
	return nil
}

// noticed is after the acknowledgement. What a power loss undoes of it repeats the
// message, with the same ID; a deletion must not be before it.
func (t *transfer) noticed() error {
	state := spool.Done
	if t.record.Delete {
		state = spool.Noticed
	}
	return t.save(state == spool.Noticed, func(r *spool.Record) { r.State = state })
}

// remove deletes the file unless it has become another.
func (t *transfer) remove() error {
	info, err := os.Stat(t.record.Path)
	if err == nil && t.record.Same(info.Size(), info.ModTime()) {
		err = os.Remove(t.record.Path)
	}
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("it was sent, but cannot be deleted: %w", err)
	}
	// There is nothing left to remember; what the path names now is another file.
	return t.save(false, func(r *spool.Record) { r.State, r.Keep = spool.Done, false })
}

// save writes a change to the spool before it counts.
func (t *transfer) save(durable bool, change func(*spool.Record)) error {
	next := t.record
	change(&next)
	if err := t.a.spool.Save(&next, durable); err != nil {
		return err
	}
	t.record = next
	return nil
}

// send brings the content to the server.
func (t *transfer) send(ctx context.Context) error {
	if err := t.open(ctx); err != nil {
		return err
	}
	err := t.sendSource(ctx)
	switch {
	case errors.Is(err, errChanged):
		t.drop()
	case err == nil:
		t.drop()
	case wrongBytes(err):
		// Spoilt on the way, unless the file is another by now; sums that are made
		// anew do for both.
		if t.source.unchanged(t.record.Path) != nil {
			err = fmt.Errorf("%w: %w", errChanged, err)
		}
		t.drop()
	}
	return err
}

func (t *transfer) drop() {
	if t.source != nil {
		t.source.close()
		t.source = nil
	}
}

// open makes sure of a source that is the file as it is now; where it is another
// than the record's, all begins anew.
func (t *transfer) open(ctx context.Context) error {
	if t.source != nil {
		if err := t.source.unchanged(t.record.Path); err == nil {
			return nil
		}
		t.drop()
	}
	partSize := t.a.settings.partSize
	if t.record.S3Upload != "" {
		partSize = func(int64) int64 { return t.record.PartSize }
	}
	s, err := openSource(t.record.Path, partSize)
	if err != nil {
		return err
	}
	s.signed = strings.HasPrefix(t.a.settings.Endpoint, "http:")
	t.source = s
	if t.record.Same(s.size(), s.modTime()) {
		return nil
	}
	t.a.tell(Event{Kind: Restart, Record: t.record})
	t.abort(ctx)
	return t.restart()
}

// restart makes another upload of a file that has changed. What was sent of it
// before, and may have arrived, has the old identifier: receivers would take the
// new content for the same once more.
func (t *transfer) restart() error {
	s := t.source
	s.partSize = t.a.settings.partSize(s.size())
	next, old := t.record, t.record
	next.ID, next.Size, next.ModTime, next.SHA256 = newID(), s.size(), s.modTime(), ""
	next.Forget()
	var err error
	if next.Key, err = t.a.settings.key(&next); err != nil {
		return fmt.Errorf("%w: %w", errLocal, err)
	}
	old.State, old.Keep = spool.Done, false
	if err := t.a.spool.Accept(next, old); err != nil { // should half of it be lost, the file is there twice
		return err
	}
	t.record, t.relisted = next, false
	return nil
}

// abort frees what S3 has of an upload; should that fail, the server does by age.
func (t *transfer) abort(ctx context.Context) {
	if t.record.S3Upload == "" {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, noticeTimeout)
	defer cancel()
	r := &t.record
	_, _ = t.a.s3.AbortMultipartUpload(ctx, &s3.AbortMultipartUploadInput{Bucket: &r.Bucket, Key: &r.Key, UploadId: &r.S3Upload})
}

func (t *transfer) sendSource(ctx context.Context) error {
	s := t.source
	t.sent.Store(0)
	t.target = s.size()
	switch {
	case s.size() <= t.a.settings.InlineMax:
		return t.inline(ctx)
	case t.a.settings.Bucket == "":
		return fmt.Errorf("%w: it has %d bytes, too many for a message, and no bucket is set", errLocal, s.size())
	case s.count() == 1 && t.record.S3Upload == "":
		return t.single(ctx)
	default:
		return t.multipart(ctx)
	}
}

// errLocal is of a problem that is on the device and does not pass.
var errLocal = errors.New("cannot be sent")

// inline sends the content as a message.
func (t *transfer) inline(ctx context.Context) error {
	s := t.source
	defer t.drop() // its sums are used up
	buffer := t.a.buffer(inlineRoom(s.size()))
	content := buffer[:s.size()]
	if _, err := io.ReadFull(s.section(0), content); err != nil {
		return fmt.Errorf("%w: %w", errChanged, err)
	}
	_, _ = s.whole.Write(content)
	t.record.SHA256 = s.hexDigest()
	if err := s.unchanged(t.record.Path); err != nil {
		return err
	}
	m, err := t.a.settings.appendInline(buffer[len(content):len(content)], &t.record, content)
	if err != nil {
		return err
	}
	if err := t.a.publish(ctx, t.a.settings.Topic, m); err != nil {
		return err // the MQTT client may still hold the message
	}
	t.a.recycle(buffer)
	return t.noticed()
}

// buffer returns one of so many bytes.
func (a *Agent) buffer(size int) []byte {
	select {
	case b := <-a.buffers:
		if cap(b) >= size {
			return b[:size]
		}
	default:
	}
	return make([]byte, size)
}

func (a *Agent) recycle(b []byte) {
	select {
	case a.buffers <- b:
	default:
	}
}

// named has the server's ledger know the object as the notice does.
func named(r *spool.Record) map[string]string {
	return map[string]string{"sekisho-upload-id": r.ID}
}

// single sends the file by one request.
func (t *transfer) single(ctx context.Context) error {
	s, r := t.source, &t.record
	first, err := s.sum(0)
	if err != nil {
		return err
	}
	sum := base64.StdEncoding.EncodeToString(s.digest())
	err = t.a.request(ctx, func(ctx context.Context) error {
		_, err := t.a.s3.PutObject(t.counted(ctx), &s3.PutObjectInput{
			Bucket: &r.Bucket, Key: &r.Key, Body: s.section(0), ContentLength: aws.Int64(s.size()), ChecksumSHA256: &sum,
			Metadata: named(r),
		}, payloadHash(first.sha256))
		return err
	})
	if err != nil {
		return fmt.Errorf("put object: %w", err)
	}
	if err := s.unchanged(r.Path); err != nil {
		return err
	}
	return t.stored()
}

func (t *transfer) stored() error {
	err := t.save(true, func(r *spool.Record) {
		r.Forget()
		r.State, r.SHA256, r.URL = spool.Stored, t.source.hexDigest(), t.a.settings.objectURL(r.Bucket, r.Key)
	})
	if err == nil {
		t.progress.Store(true)
		t.a.tell(Event{Kind: Stored, Record: t.record, Sent: t.target, Total: t.target})
	}
	return err
}

// counted is a context whose requests move the progress.
func (t *transfer) counted(ctx context.Context) context.Context {
	record, target := t.record, t.target // a request that was given up may be read on for a moment
	return withSent(ctx, func(n int64) {
		sent := min(t.sent.Add(n), target)
		if shown := t.shown.Load(); sent-shown >= progressEvery && t.shown.CompareAndSwap(shown, sent) {
			t.a.tell(Event{Kind: Progress, Record: record, Sent: sent, Total: target})
		}
	})
}

// multipart sends the parts that S3 does not have, and has them put together.
func (t *transfer) multipart(ctx context.Context) error {
	parts, err := t.allParts(ctx)
	if err == nil {
		err = t.source.unchanged(t.record.Path)
	}
	if err == nil {
		err = t.complete(ctx, parts)
	}
	switch _, code := answer(err); {
	case code == "InvalidPart" && !t.relisted:
		// What was noted of the parts may be wrong, and the parts right.
		t.relisted = true
		err = errors.Join(fmt.Errorf("%w: S3 is asked which parts it has", errAgain), t.save(true, func(r *spool.Record) { r.ETags = nil }))
	case code == "NoSuchUpload" || code == "InvalidPart":
		t.relisted = false
		err = errors.Join(fmt.Errorf("%w: S3 does not have the upload any longer", errAgain), t.save(true, (*spool.Record).Forget))
		t.drop()
	}
	return err
}

// allParts returns the parts once S3 has all of them.
func (t *transfer) allParts(ctx context.Context) ([]types.CompletedPart, error) {
	if t.record.ETags != nil {
		return t.notedParts()
	}
	have, err := t.begin(ctx)
	if err != nil {
		return nil, err
	}
	parts, err := t.sendParts(ctx, have)
	if err != nil {
		return nil, err
	}
	return parts, t.save(true, func(r *spool.Record) {
		for _, p := range parts {
			r.ETags = append(r.ETags, aws.ToString(p.ETag))
		}
	})
}

// notedParts are those of an upload of which all that is missing is S3's answer
// that it is put together.
func (t *transfer) notedParts() ([]types.CompletedPart, error) {
	parts := make([]types.CompletedPart, min(len(t.record.ETags), t.source.count()))
	for n := range parts {
		sum, err := t.source.sum(n)
		if err != nil {
			return nil, err
		}
		parts[n] = types.CompletedPart{
			PartNumber: aws.Int32(int32(n + 1)), ETag: &t.record.ETags[n], ChecksumCRC32C: aws.String(sum.crcText()),
		}
	}
	t.tellResumed(t.source.size())
	return parts, nil
}

func (t *transfer) complete(ctx context.Context, parts []types.CompletedPart) error {
	r := &t.record
	err := t.a.request(ctx, func(ctx context.Context) error {
		_, err := t.a.s3.CompleteMultipartUpload(ctx, &s3.CompleteMultipartUploadInput{
			Bucket: &r.Bucket, Key: &r.Key, UploadId: &r.S3Upload, MpuObjectSize: aws.Int64(t.source.size()),
			MultipartUpload: &types.CompletedMultipartUpload{Parts: parts},
		})
		return err
	})
	if err != nil {
		return fmt.Errorf("complete multipart upload: %w", err)
	}
	return t.stored()
}

// begin returns the parts that S3 has by number, of an upload that is there.
func (t *transfer) begin(ctx context.Context) (map[int32]types.Part, error) {
	if t.record.S3Upload != "" {
		return t.listParts(ctx)
	}
	r := &t.record
	var id string
	err := t.a.request(ctx, func(ctx context.Context) error {
		out, err := t.a.s3.CreateMultipartUpload(ctx, &s3.CreateMultipartUploadInput{
			Bucket: &r.Bucket, Key: &r.Key, ChecksumAlgorithm: types.ChecksumAlgorithmCrc32c,
			Metadata: named(r),
		})
		if err == nil {
			id = aws.ToString(out.UploadId)
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("create multipart upload: %w", err)
	}
	t.resumed = true // nothing to tell of an upload that is begun here
	return nil, t.save(true, func(r *spool.Record) { r.S3Upload, r.PartSize = id, t.source.partSize })
}

// errAgain is of an attempt after which the next may follow at once.
var errAgain = errors.New("begun anew")

func (t *transfer) listParts(ctx context.Context) (map[int32]types.Part, error) {
	r := &t.record
	have := map[int32]types.Part{}
	var after *string
	for {
		var page *s3.ListPartsOutput
		err := t.a.request(ctx, func(ctx context.Context) (err error) {
			page, err = t.a.s3.ListParts(ctx, &s3.ListPartsInput{Bucket: &r.Bucket, Key: &r.Key, UploadId: &r.S3Upload, PartNumberMarker: after})
			return err
		})
		if err != nil {
			return nil, fmt.Errorf("list parts: %w", err)
		}
		for _, p := range page.Parts {
			have[aws.ToInt32(p.PartNumber)] = p
		}
		if !aws.ToBool(page.IsTruncated) || page.NextPartNumberMarker == nil {
			return have, nil
		}
		after = page.NextPartNumberMarker
	}
}

// sendParts reads the file once, in order, and sends each part that S3 does not
// have with these very bytes.
func (t *transfer) sendParts(ctx context.Context, have map[int32]types.Part) ([]types.CompletedPart, error) {
	s := t.source
	parts := make([]types.CompletedPart, s.count())
	var there int64
	for _, p := range have {
		there += aws.ToInt64(p.Size)
	}
	t.tellResumed(there)
	var group sync.WaitGroup
	var failed firstError
	for n := range parts {
		sum, err := s.sum(n)
		if err != nil {
			failed.set(err)
			break
		}
		number, crc := int32(n+1), sum.crcText()
		parts[n] = types.CompletedPart{PartNumber: &number, ChecksumCRC32C: &crc}
		if p, ok := have[number]; ok && aws.ToString(p.ChecksumCRC32C) == crc && aws.ToInt64(p.Size) == s.section(n).Size() {
			parts[n].ETag = p.ETag
			continue
		}
		if !t.a.acquire(ctx) {
			break
		}
		if failed.get() != nil {
			t.a.release()
			break
		}
		group.Go(func() {
			defer t.a.release()
			failed.set(t.sendPart(ctx, n, &parts[n], sum.sha256))
		})
	}
	group.Wait()
	return parts, errors.Join(failed.get(), ctx.Err())
}

// tellResumed counts what is there already, and says so once.
func (t *transfer) tellResumed(there int64) {
	t.sent.Store(there)
	t.shown.Store(there)
	if !t.resumed {
		t.resumed = true
		t.a.tell(Event{Kind: Resumed, Record: t.record, Sent: there, Total: t.target})
	}
}

func (t *transfer) sendPart(ctx context.Context, n int, part *types.CompletedPart, sha256 string) error {
	r, body := &t.record, t.source.section(n)
	out, err := t.a.s3.UploadPart(t.counted(ctx), &s3.UploadPartInput{
		Bucket: &r.Bucket, Key: &r.Key, UploadId: &r.S3Upload, PartNumber: part.PartNumber,
		Body: body, ContentLength: aws.Int64(body.Size()), ChecksumCRC32C: part.ChecksumCRC32C,
	}, payloadHash(sha256))
	if err != nil {
		return fmt.Errorf("upload part %d: %w", n+1, err)
	}
	part.ETag = out.ETag
	t.progress.Store(true)
	return nil
}

// firstError keeps the first of the errors that several goroutines meet.
type firstError struct {
	mu  sync.Mutex // guards err
	err error
}

func (f *firstError) set(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err == nil {
		f.err = err
	}
}

func (f *firstError) get() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.err
}
