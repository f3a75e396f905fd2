package awsimport

import "testing"

func TestRewrite(t *testing.T) {
	t.Parallel()
	r := newRewriter(Account{"aws", "eu-west-1", "111122223333"}, Account{"aws", "us-east-1", "000000000000"})
	cn := newRewriter(Account{"aws-cn", "cn-north-1", "111122223333"}, Account{"aws", "us-east-1", "000000000000"})
	for _, c := range []struct {
		r        *rewriter
		in, want string
	}{
		{r, `"arn:aws:iot:eu-west-1:111122223333:topic/a"`, `"arn:aws:iot:us-east-1:000000000000:topic/a"`},
		{r, `"arn:aws:iot:eu-west-2:111122223333:topic/a"`, `"arn:aws:iot:eu-west-2:000000000000:topic/a"`},
		{r, `"arn:aws:iot:*:*:topic/a","arn:aws:iot:*:111122223333:topic/a"`, `"arn:aws:iot:*:*:topic/a","arn:aws:iot:*:111122223333:topic/a"`},
		{r, `"arn:aws:iam::111122223333:role/x"`, `"arn:aws:iam::000000000000:role/x"`},
		{r, `"arn:aws:iam::999999999999:role/x"`, `"arn:aws:iam::999999999999:role/x"`},
		{r, `"arn:aws:s3:::b/111122223333"`, `"arn:aws:s3:::b/111122223333"`},
		{r, `{"aws:SourceAccount":"111122223333"}`, `{"aws:SourceAccount":"000000000000"}`},
		{r, `"arn:aws:iot:eu-west-1:111122223333:*"`, `"arn:aws:iot:us-east-1:000000000000:*"`},
		{
			cn, `"arn:aws-cn:iot:cn-north-1:111122223333:topic/a","arn:aws-cn:s3:::b/*","arn:aws-cn:iam::aws:policy/x"`,
			`"arn:aws:iot:us-east-1:000000000000:topic/a","arn:aws:s3:::b/*","arn:aws:iam::aws:policy/x"`,
		},
	} {
		if got := c.r.document(c.in); got != c.want {
			t.Errorf("%s became %s, want %s", c.in, got, c.want)
		}
	}
}

func TestSameDocument(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		a, b string
		same bool
	}{
		{`{"a":1,"b":[1,2]}`, "{ \"b\" : [1, 2],\n\"a\":1}", true},
		{`{"a":1}`, `{"a":2}`, false},
		{`{"b":[1,2]}`, `{"b":[2,1]}`, false},
		{"x", "x", true},
		{"x", "y", false},
	} {
		if sameDocument(c.a, c.b) != c.same {
			t.Errorf("%s and %s: not %v", c.a, c.b, c.same)
		}
	}
}

func FuzzRewrite(f *testing.F) {
	f.Add(`"arn:aws:iot:eu-west-1:111122223333:topic/a"`)
	f.Add(`arn:aws:arn:aws:iot:eu-west-1:111122223333:`)
	there := newRewriter(Account{"aws", "eu-west-1", "111122223333"}, Account{"aws", "us-east-1", "000000000000"})
	nowhere := newRewriter(there.from, there.from)
	f.Fuzz(func(t *testing.T, s string) {
		if got := nowhere.document(s); got != s {
			t.Errorf("%q became %q though nothing moves", s, got)
		}
		once := there.document(s)
		if again := there.document(once); again != once {
			t.Errorf("%q became %q, and then %q", s, once, again)
		}
	})
}
