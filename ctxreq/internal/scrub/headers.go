package scrub

import (
	"net/netip"
	"slices"
	"strings"
)

// headerForms are the headers of the protocol and of proxies, by their whole name, each with the
// form that its standard gives it. Most have a closed vocabulary, so a value that somebody put
// there instead is hidden.
var headerForms = list(map[string]form{
	`accept`: each(",", mediaRange),
	`accept-charset accept-encoding te transfer-encoding content-encoding`: each(",", weighted(oneOf(`* identity gzip x-gzip
		deflate compress br zstd chunked trailers utf-8 utf-16 us-ascii iso-8859-1 iso-8859-15 windows-1250 windows-1251
		windows-1252 shift_jis euc-kr euc-jp gb18030 gbk big5`))),
	`accept-language content-language`:                                   each(",", weighted(either(locale, oneOf("*")))),
	`accept-ranges`:                                                      oneOf("bytes none"),
	`access-control-request-headers trailer`:                             each(",", nameForm),
	`access-control-request-method http-method-override method-override`: oneOf(methods),
	`alt-used forwarded-host forwarded-server`:                           each(",", publicHost),
	`cache-control pragma`:                                               each(",", directive),
	`connection proxy-connection`:                                        each(",", oneOf("keep-alive close upgrade te http2-settings proxy-connection transfer-encoding")),
	`content-length downlink dpr rtt viewport-width device-memory`:       number,
	`date if-modified-since if-unmodified-since amz-date`:                moment,
	`dnt save-data early-data sec-gpc upgrade-insecure-requests sec-fetch-user sec-ch-ua-mobile`: oneOf("0 1 ?0 ?1 on off"),
	`ect`:                                  oneOf("slow-2g 2g 3g 4g 5g"),
	`etag if-match if-none-match if-range`: either(etags, moment),
	`forwarded-port max-forwards`:          each(",", matches(`\d{1,5}`)),
	`expect`:                               oneOf("100-continue"),
	`forwarded`:                            each(",", each(";", forwarded)),
	`forwarded-for real-ip client-ip true-client-ip cf-connecting-ip`: each(",", address),
	`forwarded-proto forwarded-scheme scheme`:                         each(",", oneOf(schemes)),
	`keep-alive`: each(",", matches(`(?i)(timeout|max)=\d{1,6}`)),
	`prefer`:     each(",", each(";", preference)),
	`priority`:   each(",", matches(`u=[0-7]|i(=\?[01])?`)),
	`range`:      ranges,
	`request-id`: trace,
	`correlation-id trace-id traceparent b3-traceid b3-spanid b3-parentspanid b3-sampled b3 amzn-trace-id
	 cloud-trace-context cf-ray idempotency-key`: generated,
	`requested-with`:                        matches(`XMLHttpRequest|Fetch|fetch|[a-z]{2,16}(\.[a-z][a-z_]{1,20}){1,5}`),
	`sec-ch-ua sec-ch-ua-full-version-list`: each(",", brand),
	`sec-ch-ua-arch sec-ch-ua-model sec-ch-ua-platform sec-ch-ua-platform-version sec-ch-ua-full-version sec-ch-ua-bitness`: both(matches(`"[\w .\-]{0,40}"`), calm),
	`sec-fetch-dest sec-fetch-mode sec-fetch-site`: oneOf(`audio audioworklet cors cross-site document embed empty font frame iframe image
		json manifest navigate nested-navigate no-cors none object paintworklet report same-origin same-site script
		serviceworker sharedworker style track video websocket worker xslt`),
	`sec-websocket-extensions`:               each(",", each(";", matches(`(?i)permessage-deflate|x-webkit-deflate-frame|(client|server)_max_window_bits(=\d{1,2})?|(client|server)_no_context_takeover`))),
	`sec-websocket-key sec-websocket-accept`: nonce,
	`sec-websocket-protocol`: each(",", oneOf(`access_token authorization bearer chat superchat graphql-ws graphql-transport-ws subscriptions-transport-ws mqtt mqttv3.1 stomp
		v10.stomp v11.stomp v12.stomp wamp wamp.2.json wamp.2.msgpack xmpp sip soap amqp json binary base64 protobuf msgpack vite-hmr
		actioncable-v1-json actioncable-unsupported channel.k8s.io base64.channel.k8s.io v2.channel.k8s.io v3.channel.k8s.io
		v4.channel.k8s.io v5.channel.k8s.io ocpp1.6 ocpp2.0 ocpp2.0.1 tty janus-protocol jsonrpc grpc-websockets bfcp`)),
	`sec-websocket-version`: each(",", matches(`\d{1,2}`)),
	`upgrade`:               each(",", oneOf("websocket h2c h2 h3 http/2.0 http/1.1 tls/1.0 tls/1.2 tls/1.3 connect-udp connect-ip irc/6.9 rta/x11")),
	`user-agent`:            both(matches(`[A-Za-z][\w.\-]{0,30}/[^\n]*`), calm),
	`via`:                   each(",", both(matches(`([A-Za-z]{2,8}/)?\d(\.\d)? [^\n]*`), calm)),
})

const (
	methods = "GET HEAD POST PUT PATCH DELETE OPTIONS TRACE CONNECT PROPFIND PROPPATCH MKCOL COPY MOVE LOCK UNLOCK REPORT SEARCH PURGE QUERY"
	schemes = "http https ws wss grpc grpcs h2 h2c h3"
)

// nameForm is a name of something, without its value.
func nameForm(v string) bool { return nameLike(v) && calm(v) }

// oneOf is a closed vocabulary, in small letters or capitals.
func oneOf(vocabulary string) form {
	set := words(strings.ToLower(vocabulary))
	return func(v string) bool { return set[strings.ToLower(v)] }
}

// both is a value that has two forms at once.
func both(a, b form) form { return func(v string) bool { return a(v) && b(v) } }

// each is a list whose parts have the form. A separator in quotes separates nothing.
func each(separator string, part form) form {
	return func(v string) bool {
		for _, p := range splitQuoted(v, separator[0]) {
			if p = strings.TrimSpace(p); p != "" && !part(p) {
				return false
			}
		}
		return len(v) <= 512
	}
}

// splitQuoted splits v at each separator that is not in double quotes.
func splitQuoted(v string, separator byte) (parts []string) {
	quoted, from := false, 0
	for i := range len(v) {
		switch {
		case v[i] == '"' && (i == 0 || v[i-1] != '\\'):
			quoted = !quoted
		case v[i] == separator && !quoted:
			parts = append(parts, v[from:i])
			from = i + 1
		}
	}
	return append(parts, v[from:])
}

// weighted is a value with an optional weight: ko;q=0.8.
func weighted(value form) form {
	return func(v string) bool {
		v, weight, ok := strings.Cut(v, ";")
		return value(strings.TrimSpace(v)) && (!ok || weightForm(strings.TrimSpace(weight)))
	}
}

var (
	weightForm = matches(`(?i)q=[01](\.\d{0,3})?`)
	mediaTypes = words("* text application image audio video multipart message font model chemical example")
)

// mediaType is a type such as text/html.
func mediaType(v string) bool {
	top, sub, ok := strings.Cut(v, "/")
	return ok && mediaTypes[strings.ToLower(top)] && sub != "" && !strings.ContainsAny(sub, "/ ") && calm(v)
}

func mediaRange(v string) bool {
	media, _, _ := strings.Cut(v, ";")
	return mediaType(strings.TrimSpace(media)) && calm(v)
}

// directive is one of Cache-Control's.
func directive(v string) bool {
	return directiveShape().MatchString(v)
}

var directiveShape = lazy(`(?i)^(no-cache|no-store|no-transform|only-if-cached|public|private|must-revalidate|proxy-revalidate|must-understand|immutable|` +
	`(max-age|max-stale|min-fresh|s-maxage|stale-while-revalidate|stale-if-error)(="?\d{1,10}"?)?)$`)

// preference is one of the Prefer header's.
func preference(v string) bool { return preferShape().MatchString(v) }

var preferShape = lazy(`(?i)^(respond-async|safe|depth-noroot|odata\.continue-on-error|odata\.track-changes|return="?(minimal|representation|headers-only)"?|` +
	`wait=\d{1,6}|handling="?(strict|lenient)"?|(odata\.)?maxpagesize=\d{1,6}|count=(exact|planned|estimated)|resolution=[a-z\-]{1,24})$`)

// address is the form of a client's address: an IP address, with or without a port.
func address(v string) bool {
	v = strings.Trim(v, `"`)
	if strings.EqualFold(v, "unknown") {
		return true
	}
	if _, err := netip.ParseAddr(strings.Trim(v, "[]")); err == nil {
		return true
	}
	_, err := netip.ParseAddrPort(v)
	return err == nil
}

// publicHost is a host with a dot, a port or an address, so that it cannot be a mere word.
func publicHost(v string) bool {
	return v == "" || address(v) || hostName(v) && (strings.ContainsAny(v, ".:") || v == "localhost")
}

// forwarded is one pair of the Forwarded header.
func forwarded(v string) bool {
	name, value, _ := strings.Cut(v, "=")
	value = strings.Trim(value, `"`)
	switch strings.ToLower(strings.TrimSpace(name)) {
	case "for", "by":
		obscured, ok := strings.CutPrefix(value, "_")
		return address(value) || publicHost(value) || ok && slug(obscured)
	case "host":
		return publicHost(value)
	case "proto":
		return slices.Contains(strings.Fields(schemes), strings.ToLower(value))
	}
	return false
}

// brand is an entry of Sec-Ch-Ua: "Chromium";v="120".
func brand(v string) bool { return brandShape().MatchString(v) && calm(v) }

var brandShape = lazy(`^"[^"]{1,40}"(;v="[\d.]{1,24}")?$`)

// generated is an id that a tracer or a proxy made: hexadecimal groups, or short words with a
// number, such as order-1.
func generated(v string) bool {
	return len(v) <= 128 && (traceShape().MatchString(v) || counted().MatchString(v) && calm(v))
}

var (
	traceShape = lazy(`^(?i:[0-9a-f]{1,2}|[0-9a-f]{8}|[0-9a-f]{16}|[0-9a-f]{32}|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|` +
		`00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}|[0-9a-f]{16,32}-[0-9a-f]{16}(-[01d](-[0-9a-f]{16})?)?|[0-9a-f]{16}-[a-z]{3}|` +
		`(?:(?:root|parent|self)=[0-9a-f\-]{1,40};?|sampled=[01];?)+|[0-9a-f]{32}/\d{1,20}(;o=\d)?|d|true|false)$`)
	counted = lazy(`^[a-z]{1,12}([-_:][a-z]{1,12}){0,2}[-_:]?\d{1,9}$`)
)
