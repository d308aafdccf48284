-- The renewal report: of those who took a course in spring, how many stayed for the autumn?
--
-- MySQL and DuckDB both run this text. An item counts while its order is paid and it was not given back in full, however late
-- that came. Rates are made from these numbers where they are printed, so no engine's rounding has a part in the comparison.

CREATE TEMPORARY TABLE kept AS
WITH given_back AS (
    SELECT order_id, line, SUM(amount) AS amount FROM refunds WHERE status = 'granted' GROUP BY order_id, line
)
SELECT i.order_id, i.line, i.course_id, o.student_id, i.price - i.discount - COALESCE(g.amount, 0.00) AS paid
FROM order_items i
JOIN orders o ON o.id = i.order_id AND o.status = 'paid'
LEFT JOIN given_back g ON g.order_id = i.order_id AND g.line = i.line
WHERE i.price - i.discount > COALESCE(g.amount, 0.00);

CREATE TEMPORARY TABLE enrolled AS
SELECT k.student_id, k.course_id, SUM(k.paid) AS paid
FROM kept k
JOIN courses c ON c.id = k.course_id AND c.term = '2026-spring'
GROUP BY k.student_id, k.course_id;

CREATE TEMPORARY TABLE stayed AS
SELECT DISTINCT n.student_id, n.course_id
FROM renewals n
JOIN kept k ON k.order_id = n.order_id AND k.line = n.line;

-- by grade: the one that the student is in now
SELECT s.grade AS grade, COUNT(*) AS enrolled, COUNT(t.student_id) AS renewed, SUM(e.paid) AS paid
FROM enrolled e
JOIN students s ON s.id = e.student_id
LEFT JOIN stayed t ON t.student_id = e.student_id AND t.course_id = e.course_id
GROUP BY s.grade
ORDER BY s.grade;

-- by subject
SELECT CAST(h.subject AS CHAR(20)) AS subject, COUNT(*) AS enrolled, COUNT(t.student_id) AS renewed, SUM(e.paid) AS paid
FROM enrolled e
JOIN courses c ON c.id = e.course_id
JOIN teachers h ON h.id = c.teacher_id
LEFT JOIN stayed t ON t.student_id = e.student_id AND t.course_id = e.course_id
GROUP BY CAST(h.subject AS CHAR(20))
ORDER BY subject;

-- by teacher
SELECT h.id AS id, h.name AS teacher, COUNT(*) AS enrolled, COUNT(t.student_id) AS renewed, SUM(e.paid) AS paid
FROM enrolled e
JOIN courses c ON c.id = e.course_id
JOIN teachers h ON h.id = c.teacher_id
LEFT JOIN stayed t ON t.student_id = e.student_id AND t.course_id = e.course_id
GROUP BY h.id, h.name
ORDER BY enrolled DESC, h.id;
