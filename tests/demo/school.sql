-- A school's courses, who bought them, who gave them back, and who stayed for the next term.
CREATE TABLE students (
    id INT UNSIGNED NOT NULL PRIMARY KEY,
    name VARCHAR(64) NOT NULL,
    grade TINYINT UNSIGNED NOT NULL,
    born_on DATE NOT NULL,
    city VARCHAR(32) CHARACTER SET latin1 NOT NULL,
    is_boarder BIT(1) NOT NULL,
    registered_at DATETIME NOT NULL,
    updated_at TIMESTAMP(6) NOT NULL
);
CREATE TABLE teachers (
    id INT UNSIGNED NOT NULL PRIMARY KEY,
    name VARCHAR(64) NOT NULL,
    subject ENUM('art', 'biology', 'chemistry', 'chinese', 'english', 'maths', 'music', 'physics') NOT NULL,
    hourly_rate DECIMAL(8, 2) NOT NULL,
    hired_on DATE NULL,
    profile JSON NULL
);
CREATE TABLE courses (
    id INT UNSIGNED NOT NULL PRIMARY KEY,
    title VARCHAR(100) NOT NULL,
    teacher_id INT UNSIGNED NOT NULL,
    grade TINYINT UNSIGNED NOT NULL,
    term ENUM('2026-spring', '2026-autumn') NOT NULL,
    days SET('mon', 'tue', 'wed', 'thu', 'fri', 'sat', 'sun') NOT NULL,
    starts_at TIME NOT NULL,
    price DECIMAL(10, 2) NOT NULL
);
CREATE TABLE orders (
    id BIGINT UNSIGNED NOT NULL PRIMARY KEY,
    student_id INT UNSIGNED NOT NULL,
    status ENUM('placed', 'paid', 'cancelled') NOT NULL,
    placed_at DATETIME NOT NULL,
    paid_at DATETIME(3) NULL,
    note VARCHAR(200) NULL,
    updated_at TIMESTAMP(6) NOT NULL
);
CREATE TABLE order_items (
    order_id BIGINT UNSIGNED NOT NULL,
    line TINYINT UNSIGNED NOT NULL,
    course_id INT UNSIGNED NOT NULL,
    price DECIMAL(10, 2) NOT NULL,
    discount DECIMAL(10, 2) NOT NULL,
    PRIMARY KEY (order_id, line),
    KEY (course_id)
);
CREATE TABLE refunds (
    id BIGINT NOT NULL PRIMARY KEY,
    order_id BIGINT UNSIGNED NOT NULL,
    line TINYINT UNSIGNED NOT NULL,
    amount DECIMAL(10, 2) NOT NULL,
    status ENUM('asked', 'granted', 'refused') NOT NULL,
    reason TEXT NULL,
    asked_at DATETIME(3) NOT NULL,
    decided_at TIMESTAMP(3) NULL
);
-- The student stayed with course_id: the item (order_id, line) is for the next term.
CREATE TABLE renewals (
    student_id INT UNSIGNED NOT NULL,
    course_id INT UNSIGNED NOT NULL,
    order_id BIGINT UNSIGNED NOT NULL,
    line TINYINT UNSIGNED NOT NULL,
    renewed_at TIMESTAMP(6) NOT NULL,
    PRIMARY KEY (student_id, course_id, order_id),
    KEY (course_id),
    KEY (order_id)
);
