package broker_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestStatements checks testdata/statements.txt: it has every statement once, and
// names exactly the files whose scripts name the statement, and vectors that exist.
func TestStatements(t *testing.T) {
	t.Parallel()
	named := map[string][]string{} // files by "v3 3.1.0-1"
	for _, s := range scripts(t) {
		for version, ids := range map[string][]string{"v3": s.V3, "v5": s.V5} {
			for _, id := range ids {
				key := version + " " + id
				if !slices.Contains(named[key], s.File) {
					named[key] = append(named[key], s.File)
				}
			}
		}
	}
	table := statements(t)
	count := map[string]int{}
	for key, how := range table {
		count[key[:2]]++
		kind, what, _ := strings.Cut(how, ": ")
		switch kind {
		case "script":
			slices.Sort(named[key])
			if want := strings.Join(named[key], " "); want != what {
				t.Errorf("%s: scripts are in %q, the table says %q", key, want, what)
			}
		case "codec":
			if !vector(t, what) {
				t.Errorf("%s: no vector %q", key, what)
			}
		case "test":
			if !exists(t, what) {
				t.Errorf("%s: no test %q", key, what)
			}
		case "none":
			if what == "" {
				t.Errorf("%s: none for what reason?", key)
			}
		case "client":
		default:
			t.Errorf("%s: %q", key, how)
		}
	}
	for key := range named {
		if !strings.HasPrefix(table[key], "script: ") {
			t.Errorf("%s: scripts name it, the table says %q", key, table[key])
		}
	}
	if count["v3"] != 141 || count["v5"] != 251 {
		t.Errorf("%d statements of MQTT 3.1.1 and %d of MQTT 5; the standards have 141 and 251", count["v3"], count["v5"])
	}
}

// statements reads the table.
func statements(tb testing.TB) map[string]string {
	tb.Helper()
	data, err := os.ReadFile("testdata/statements.txt")
	if err != nil {
		tb.Fatal(err)
	}
	table := map[string]string{}
	for line := range strings.Lines(string(data)) {
		if strings.HasPrefix(line, "//") {
			continue
		}
		words := strings.SplitN(strings.TrimSpace(line), " ", 3)
		if len(words) != 3 || table[words[0]+" "+words[1]] != "" {
			tb.Fatalf("a bad line or one twice: %s", line)
		}
		table[words[0]+" "+words[1]] = words[2]
	}
	return table
}

// vector reports whether package mqtt has a vector whose name contains what.
func vector(tb testing.TB, what string) bool {
	tb.Helper()
	files, err := filepath.Glob("../mqtt/testdata/*.txt")
	if err != nil {
		tb.Fatal(err)
	}
	for _, name := range files {
		data, err := os.ReadFile(name)
		if err != nil {
			tb.Fatal(err)
		}
		for block := range strings.SplitSeq(string(data), "\n\n") {
			if first, _, _ := strings.Cut(strings.TrimSpace(block), "\n"); strings.Contains(first, what) {
				return true
			}
		}
	}
	return false
}

// exists reports whether a package of this repository has the test.
func exists(tb testing.TB, name string) bool {
	tb.Helper()
	files, err := filepath.Glob("../*/*_test.go")
	if err != nil {
		tb.Fatal(err)
	}
	return slices.ContainsFunc(files, func(file string) bool {
		data, err := os.ReadFile(file)
		if err != nil {
			tb.Fatal(err)
		}
		return strings.Contains(string(data), "\nfunc "+name+"(t *testing.T)")
	})
}

// pahoCases are the cases of both suites of Eclipse paho.mqtt.testing.
func pahoCases() []string {
	both := strings.Fields("test_zero_length_clientid test_offline_message_queueing test_overlapping_subscriptions test_keepalive " +
		"test_redelivery_on_reconnect test_subscribe_failure test_dollar_topics test_unsubscribe")
	three := append(strings.Fields("testBasic test_retained_messages will_message_test"), both...)
	five := append(strings.Fields("test_basic test_retained_message test_will_message test_session_expiry test_user_properties "+
		"test_payload_format test_publication_expiry test_subscribe_options test_assigned_clientid test_subscribe_identifiers "+
		"test_request_response test_client_topic_alias test_server_topic_alias test_maximum_packet_size test_server_keep_alive "+
		"test_flow_control1 test_flow_control2 test_will_delay test_shared_subscriptions"), both...)
	var all []string
	for _, name := range three {
		all = append(all, "client_test."+name)
	}
	for _, name := range five {
		all = append(all, "client_test5."+name)
	}
	return all
}

// TestPaho checks that every case of paho.mqtt.testing has a script, and that
// scripts name none that does not exist.
func TestPaho(t *testing.T) {
	t.Parallel()
	told := map[string]int{}
	for _, s := range scripts(t) {
		for _, name := range s.Paho {
			told[name]++
		}
	}
	for _, name := range pahoCases() {
		if told[name] == 0 {
			t.Errorf("no script for %s", name)
		}
		delete(told, name)
	}
	for name, n := range told {
		t.Errorf("%d scripts for %s, which does not exist", n, name)
	}
}
